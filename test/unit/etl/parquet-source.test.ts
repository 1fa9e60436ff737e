import { describe, expect, test } from 'vitest';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { parquetOf } from '../../support/parquet.ts';
import { runSession } from './session.ts';

const parquet = definitionOf('a.parquet', { type: 'parquet' });

describe('a Parquet source', () => {
  test('keeps the file’s types where the contract agrees, and rejects by value', async () => {
    const bytes = await parquetOf(`
      select * from (values
        (1::int, 1.5::double, 'ab', date '2020-01-01', timestamp '2020-01-01 10:00:00.5', timestamptz '2020-01-01 10:00:00+02', [1, 2], {'x': 1, 'y': 'a,b'}),
        (2, 'nan'::double, 'x' || chr(0), date 'infinity', null, null, null, null),
        (-3, 2.5, 'abcdef', null, timestamp '0044-03-15 (BC) 00:00:00', null, [3], {'x': null, 'y': 'z'}))
      t(id, size, name, day, "at", zoned, list, inner_)`);
    const contract = contractOf({
      id: { type: 'integer', minimum: 0 },
      size: { type: 'number' },
      name: { type: 'string', maxLength: 5 },
      day: { type: 'string', format: 'date' },
      at: { type: 'string', format: 'local-date-time' },
      zoned: { type: 'string', format: 'date-time' },
      list: { type: 'array', items: { type: 'integer' } },
      inner_: { type: 'object', properties: { x: { type: 'integer' }, y: { type: 'string' } } },
    });
    const result = await runSession(bytes, parquet, contract);
    expect(result.survey.columns.map(({ type }) => type)).toEqual([
      'bigint',
      'double precision',
      'text',
      'date',
      'timestamp',
      'timestamptz',
      'jsonb',
      'bigint',
      'text',
    ]);
    expect(result.rows).toEqual([
      ['1', '1', '1.5', 'ab', '2020-01-01', '2020-01-01 10:00:00.5', '2020-01-01 08:00:00+00', '[1,2]', '1', 'a,b'],
    ]);
    expect(result.rejected.map(({ reasons }) => reasons.map(({ path, rule }) => `${path} ${rule}`))).toEqual([
      ['/size type', '/name encoding', '/day format'],
      ['/id minimum', '/name maxLength', '/at format'],
    ]);
    expect(JSON.parse(result.rejected[1]?.raw ?? '')).toMatchObject({ id: '-3', name: 'abcdef' });
  });

  test('sends records to Ajv where SQL cannot judge', async () => {
    const bytes = await parquetOf(
      `select * from (values (1, ['a'], 'x@y.gov'), (2, ['a', 'b', 'c'], 'x@y.gov'), (3, null, 'nobody')) t(id, tags, mail)`,
    );
    const contract = contractOf(
      { id: { type: 'integer' }, tags: { type: 'array', maxItems: 2 }, mail: { type: 'string', format: 'email' } },
      { anyOf: [{ required: ['tags'] }, { properties: { id: { minimum: 3 } } }] },
    );
    const result = await runSession(bytes, parquet, contract);
    expect(result.rows).toEqual([['1', '1', '["a"]', 'x@y.gov']]);
    expect(result.rejected.map(({ recordNo, reasons }) => [recordNo, reasons[0]?.rule])).toEqual([
      [2, 'maxItems'],
      [3, 'format'],
    ]);
    expect(result.batches[0]?.steps[1]).toMatchObject({
      step: 'validate',
      recordsIn: 3,
      recordsRejected: 2,
      recordsOut: 1,
    });
  });

  test('reads ranges of rows across row groups, each row once', async () => {
    const bytes = await parquetOf('select i from range(1, 10001) t(i)');
    const result = await runSession(bytes, { ...parquet, batch: { records: 700 } }, null);
    expect(result.survey.ranges.length).toBe(3);
    expect(result.rows.map((row) => row[0])).toEqual(Array.from({ length: 10_000 }, (_each, at) => String(at + 1)));
    expect(result.rows.every(([no, value]) => no === value)).toBe(true);
    expect(result.batches.reduce((sum, batch) => sum + batch.bytesRead, 0)).toBe(bytes.length);
  });

  test('refuses a fraction as an integer, without rounding it', async () => {
    const bytes = await parquetOf('select * from (values (1.0::double), (1.5), (null)) t(n)');
    const result = await runSession(bytes, parquet, contractOf({ n: { type: 'integer' } }));
    expect(result.rows).toEqual([
      ['1', '1'],
      ['3', null],
    ]);
    expect(result.survey.columns).toEqual([{ name: 'n', type: 'bigint' }]);
  });

  test('takes times of whole microseconds from nanoseconds, as pandas writes them, and refuses to cut others', async () => {
    const times = [
      '2024-01-10 00:00:00.000001',
      '1677-09-22',
      '2262-04-11 23:47:16.854775',
      '2024-01-10 00:00:00.000000001',
      '-infinity',
    ];
    const bytes = await parquetOf(times.map((time) => `select timestamp_ns '${time}' as seen`).join(' union all '));
    for (const contract of [
      null,
      contractOf({ seen: {} }),
      contractOf({ seen: { format: 'local-date-time', type: 'string' } }),
    ]) {
      const { rows, rejected, survey } = await runSession(bytes, parquet, contract);
      expect(survey.columns).toEqual([{ name: 'seen', type: 'timestamp' }]);
      expect(rows.map(([, seen]) => seen)).toEqual([times[0], '1677-09-22 00:00:00', times[2]]);
      expect(rejected.map(({ recordNo, reasons }) => [recordNo, reasons[0]?.message])).toEqual([
        [4, expect.stringContaining('must be a time of whole microseconds, found')],
        [5, expect.stringContaining('must be a time of whole microseconds, found')],
      ]);
    }
  });

  test('keeps lists of times, and refuses in lists and structures what no JSON holds', async () => {
    const values = [`['\\u0000 NaN']`, `['x' || chr(0)]`, `['\\' || chr(0)]`, 'null'];
    const numbers = ['[1.5]', `['nan'::double]`, `['-inf'::double]`, `[null, 'inf'::double]`];
    const rows = values.map(
      (text, at) =>
        `select ${text} as texts, ${String(numbers[at])} as numbers, [timestamp_ns '2024-01-10 00:00:00.000000001'] as times`,
    );
    const bytes = await parquetOf(rows.join(' union all by name '));
    const typed = contractOf({
      texts: { type: ['array', 'null'] },
      numbers: { type: 'array', items: { type: ['number', 'null'] } },
      times: {},
    });
    for (const contract of [null, typed]) {
      const { rows: good, rejected } = await runSession(bytes, parquet, contract);
      expect(good).toEqual([['1', '["\\\\u0000 NaN"]', '[1.5]', '["2024-01-10 00:00:00.000000001"]']]);
      const words = expect.stringMatching(/^must be JSON without NUL, and of finite numbers, found [^\0]+$/) as string;
      expect(
        rejected.map(({ recordNo, reasons }) => [recordNo, reasons.map(({ path, message }) => [path, message])]),
      ).toEqual([
        [
          2,
          [
            ['/texts', words],
            ['/numbers', words],
          ],
        ],
        [
          3,
          [
            ['/texts', words],
            ['/numbers', words],
          ],
        ],
        [4, [['/numbers', words]]],
      ]);
    }
  });

  test('checks what the contract leaves untyped by the file’s own type', async () => {
    const bytes = await parquetOf(`select 5 as n, 'abc' as t, true as b`);
    const result = await runSession(
      bytes,
      parquet,
      contractOf({ n: { maximum: 3 }, t: { maxLength: 2 }, b: { const: true } }),
    );
    expect(result.rejected[0]?.reasons.map(({ path, rule }) => `${path} ${rule}`)).toEqual([
      '/n maximum',
      '/t maxLength',
    ]);
  });

  test.for([
    ['no Parquet', 'id\n1\n', {}, /Expected a Parquet file/],
    ['a type that can never fit', null, { id: { type: 'string' } }, /"id" is INTEGER; the contract expects string/],
    ['a required column missing', null, { other: {} }, /requires "other"/],
  ] as const)('refuses %s', async ([, content, properties, message]) => {
    const bytes = content ?? (await parquetOf('select 1::int as id'));
    const contract = contractOf({ id: { type: 'integer' }, ...properties }, { required: Object.keys(properties) });
    await expect(runSession(bytes, parquet, contract)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });

  test('says that a file cut short or damaged inside is so', async () => {
    const bytes = await parquetOf(`select i, hash(i)::varchar as t from range(20000) t(i)`);
    await expect(runSession(bytes.subarray(0, bytes.length - 100), parquet, null)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
    });
    const damaged = Buffer.from(bytes);
    damaged.fill(0xff, 2000, 6000);
    await expect(runSession(damaged, parquet, null)).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
  });
});
