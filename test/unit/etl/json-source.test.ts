import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseRecord } from '../../../src/etl/ingest/json-record.ts';
import { contractOf, definitionOf } from '../../support/etl.ts';
import { runSession } from './session.ts';

const lines = definitionOf('a.ndjson', { type: 'ndjson' });
const document = (recordPath?: string) =>
  definitionOf('a.json', { type: 'json', ...(recordPath === undefined ? {} : { recordPath }) });
const contract = contractOf(
  {
    id: { type: 'integer' },
    name: { type: ['string', 'null'] },
    at: {
      type: 'object',
      properties: { lat: { type: 'number' }, tags: { type: 'array', items: { type: 'string' } } },
      required: ['lat'],
    },
    more: {},
  },
  { required: ['id'] },
);

describe('a JSON source', () => {
  test('gives nested properties as columns, arrays as jsonb, and rejects with Ajv’s reasons', async () => {
    const records = [
      { id: 1, name: 'Ann', at: { lat: 1.5, tags: ['a', 'b"c'] }, more: { x: null } },
      { id: '2', name: 3 },
      { id: 3, name: '', at: null },
      { id: 4, name: null, more: 'text' },
    ];
    const result = await runSession(
      JSON.stringify({ data: { list: records } }, null, 2),
      document('/data/list'),
      contract,
    );
    expect(result.survey.columns).toEqual([
      { name: 'id', type: 'bigint' },
      { name: 'name', type: 'text' },
      { name: 'at_lat', type: 'double precision' },
      { name: 'at_tags', type: 'jsonb' },
      { name: 'more', type: 'jsonb' },
    ]);
    expect(result.rows).toEqual([
      ['1', '1', 'Ann', '1.5', '["a","b\\"c"]', '{"x":null}'],
      ['4', '4', null, null, null, '"text"'],
    ]);
    expect(
      result.rejected.map(({ recordNo, reasons }) => [recordNo, reasons.map(({ path, rule }) => `${path} ${rule}`)]),
    ).toEqual([
      [2, ['/id type', '/name type']],
      [3, ['/at type']],
    ]);
    expect(JSON.parse(result.rejected[0]?.raw ?? '')).toEqual(records[1]);
  });

  test('keeps the empty text apart from no text', async () => {
    const result = await runSession('{"id":1,"name":""}\n{"id":2,"name":null}\n{"id":3}\n', lines, contract);
    expect(result.rows.map((row) => row[2])).toEqual(['', null, null]);
  });

  test('keeps every digit of a number', async () => {
    const text =
      '{"id":9007199254740993,"more":[12345678901234567890.123,1e400]}\n{"id":9223372036854775808}\n{"id":1e3}\n{"id":1.0}\n{"at":{"lat":1e400},"id":5}\n';
    const result = await runSession(text, lines, contract);
    expect(result.rows.map((row) => [row[1], row[5]])).toEqual([
      ['9007199254740993', '[12345678901234567890.123,1e400]'],
      ['1000', null],
      ['1', null],
    ]);
    expect(result.rejected.map(({ recordNo }) => recordNo)).toEqual([2, 5]);
  });

  test('rejects text that Postgres cannot hold, and only that', async () => {
    const text = [
      '{"id":1,"name":"a\\u0000"}',
      '{"id":2,"name":"\\ud800"}',
      '{"id":3,"more":["\\u0000"]}',
      '{"id":4,"more":["\\\\u0000"]}',
      '{"id":5,"more":"\\udc00"}',
      '{"id":6,"name":"\\ud83d\\ude00"}',
    ];
    const result = await runSession(text.join('\n'), lines, contract);
    expect(result.rows.map((row) => row[0])).toEqual(['4', '6']);
    expect(result.rejected.map(({ reasons }) => reasons[0]?.rule)).toEqual([
      'encoding',
      'encoding',
      'encoding',
      'encoding',
    ]);
  });

  test('rejects what is no JSON, what is no UTF-8 and what nests too deep, each by itself', async () => {
    const deep = `{"id":4,"more":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
    const bytes = Buffer.concat([
      Buffer.from('{"id":1}\n{id:2}\n{"id":3,"name":"'),
      Buffer.from([0xff]),
      Buffer.from(`"}\n${deep}\nnull\n{"id":6}\n`),
    ]);
    const result = await runSession(bytes, lines, contract);
    expect(result.rows.map((row) => row[0])).toEqual(['1', '6']);
    expect(result.rejected.map(({ recordNo, reasons }) => [recordNo, reasons[0]?.rule])).toEqual([
      [2, 'parse'],
      [3, 'encoding'],
      [4, 'depth'],
      [5, 'type'],
    ]);
    expect(result.rejected[2]?.raw?.length).toBeLessThan(20_000);
  });

  test('rejects a record that has a member twice, wherever in it, and says which', async () => {
    const good = ['{"id":1,"name":"a:b","more":{"id":2,"list":[{"id":3},{"id":4}]}}', '{"id":2,"__proto__":{"id":1}}'];
    const bad: [string, string][] = [
      ['{"id":3,"id":3}', '"id"'],
      ['{"id":4,"\\u0069d":5}', '"id"'],
      ['{"id":5,"more":{"a":[{"b":1,"c\\"":{},"c\\"":2}]}}', '"c\\""'],
      ['{"id":6,"":1,"":2}', '""'],
      ['{"id":7,"__proto__":1,"__proto__":2}', '"__proto__"'],
    ];
    const text = [...good, ...bad.map(([line]) => line), ''].join('\n');
    const result = await runSession(text, lines, { ...contract, additionalProperties: true });
    expect(result.rows.map((row) => row[0])).toEqual(['1', '2']);
    expect(result.rejected.map(({ reasons }) => reasons.map(({ rule, message }) => [rule, message]))).toEqual(
      bad.map(([, name]) => [['names', `must name each member of an object once, and has ${name} twice`]]),
    );
    const list = await runSession('[{"id":1},{"id":2,"id":3}]', document(), contract);
    expect(list.rejected.map(({ recordNo }) => recordNo)).toEqual([2]);
  });

  test('takes every other record for one that has each member once', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.string(), (value, name) => {
        const text = JSON.stringify(value);
        expect(parseRecord(Buffer.from(text))).toEqual({ value: JSON.parse(text) as unknown, text });
        const twice = `{${JSON.stringify(name)}:${text},"other":0,${JSON.stringify(name)}:1}`;
        expect(parseRecord(Buffer.from(twice))).toMatchObject({ issue: { rule: 'names' } });
      }),
    );
  });

  test('keeps a whole record in one column where there is no contract', async () => {
    const result = await runSession('[{"a":1},2]', document(), null);
    expect(result.survey.columns).toEqual([{ name: 'record', type: 'jsonb' }]);
    expect(result.rows).toEqual([
      ['1', '{"a":1}'],
      ['2', '2'],
    ]);
  });

  test.for([
    ['an empty list', '[]', undefined, /no record/],
    ['no list at the path', '{"a":[1]}', '/b', /No member "b"/],
    ['a document cut short', '[{"id":1},{"id":2', undefined, /end of the document \(byte 17\)/],
    ['rubbish between records', '[{"id":1} x {"id":2}]', undefined, /"," or "\]"/],
    ['a list that ends, but not the document', '{"a":[{"id":1}]', '/a', /closing bracket/],
    ['an object', '{"id":1}', undefined, /array of records/],
    ['a record beyond the limit', `[{"id":1,"name":"${'x'.repeat(9_000_000)}"}]`, undefined, /at most 8388608 bytes/],
  ] as const)('refuses %s', async ([, text, path, message]) => {
    const run = runSession(text, document(path), contract);
    await expect(run).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });

  test('cuts ranges and goes on in the middle of the list', async () => {
    const records = Array.from({ length: 300 }, (_each, at) => ({ id: at + 1, name: `]}"${at}` }));
    const small = { ...document('/list'), batch: { records: 20 } };
    const result = await runSession(JSON.stringify({ list: records, after: [1] }, null, 1), small, contract);
    expect(result.survey.ranges.length).toBe(3);
    expect(result.rows.map((row) => row[1])).toEqual(records.map(({ id }) => String(id)));
  });
});
