import { readFileSync } from 'node:fs';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import type { Range } from '../../../src/etl/protocol.ts';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';
import { parseCsv } from '../../support/csv.ts';
import { parquetOf } from '../../support/parquet.ts';
import { withSession } from './session.ts';

const contract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Reading',
  type: 'object',
  required: ['id', 'seq', 'day', 'at', 'local', 'value'],
  properties: {
    id: { type: 'integer', maximum: 9 },
    seq: { type: 'integer' },
    day: { type: 'string', format: 'date' },
    at: { type: 'string', format: 'date-time' },
    local: { type: 'string', format: 'local-date-time' },
    value: { type: 'number' },
  },
};
/** In the order of every cursor. 2 and 3 differ by a microsecond and by their offsets; 20 and 30 break the contract. */
const records = [
  { id: 1, seq: -5, day: '2024-01-01', at: '2024-01-01T00:00:00Z', local: '2024-01-01T00:00:00', value: 0.1 },
  { id: 20, seq: -4, day: '2024-01-02', at: '2024-01-02T00:00:00Z', local: '2024-01-02T00:00:00', value: 0.2 },
  {
    id: 2,
    seq: 9,
    day: '2024-01-10',
    at: '2024-01-10T02:00:00.000001+02:00',
    local: '2024-01-10T00:00:00.000001',
    value: 1e3,
  },
  {
    id: 3,
    seq: 10,
    day: '2024-01-11',
    at: '2024-01-09T22:00:00.000002-02:00',
    local: '2024-01-10T00:00:00.000002',
    value: 1000.5,
  },
  {
    id: 30,
    seq: 2000000000000,
    day: '2024-02-01',
    at: '2024-02-01T00:00:00Z',
    local: '2024-02-01T00:00:00',
    value: 1e9,
  },
];
const names = Object.keys(records[0] ?? {});
const csv = [names.join(','), ...records.map((record) => Object.values(record).join(','))].join('\n');
const ndjson = records.map((each) => JSON.stringify(each)).join('\n');
const values = records
  .map(
    (record) =>
      `(${Object.values(record)
        .map((value) => `'${value}'`)
        .join(', ')})`,
  )
  .join(', ');
const parquet = `
  select id::int as id, seq::bigint as seq, day::date as day, "at"::timestamptz as "at", local::timestamp as local, value::double as value
  from (values ${values}) t(${names.map((each) => `"${each}"`).join(', ')})`;
const sources = [
  { name: 'readings.csv', format: { type: 'csv' }, content: () => csv },
  { name: 'readings.ndjson', format: { type: 'ndjson' }, content: () => ndjson },
  { name: 'readings.parquet', format: { type: 'parquet' }, content: () => parquetOf(parquet) },
];

describe.each(sources)('records of $name that an earlier run has read', ({ name, format, content }) => {
  let bench: EtlBench;
  beforeAll(async () => {
    bench = await etlBench();
    await bench.put(name, await content());
  });
  afterAll(() => bench.remove());

  const run = (cursor: string, after: string | null) =>
    bench.run(
      { ...definitionOf(name, format), source: { connection: 'files', path: name, format, incremental: { cursor } } },
      contract,
      undefined,
      { since: { cursor, after } },
    );

  test.each([
    ['seq', '9', '10'],
    ['day', '2024-01-10', '2024-01-11'],
    ['at', '2024-01-10 00:00:00.000001+00', '2024-01-10 00:00:00.000002+00'],
    ['local', '2024-01-10 00:00:00.000001', '2024-01-10 00:00:00.000002'],
    ['value', '1000.0', '1000.5'],
  ])('are passed over by %s, the refused as well, and a refused one moves no mark', async (cursor, after, newest) => {
    const { plan, rows, rejected, read, steps } = await run(cursor, after);
    expect(plan.increment).toEqual({ cursor, value: newest });
    expect(rows.map(([, id]) => id)).toEqual(['3']);
    expect(rejected.map(({ recordNo }) => recordNo)).toEqual([5]);
    expect(read).toBe(5);
    expect(
      steps.map(({ step, recordsIn, recordsOut, recordsFiltered }) => [step, recordsIn, recordsOut, recordsFiltered]),
    ).toEqual([
      ['read', 5, 5, 0],
      ['pass over', 5, 2, 3],
      ['validate', 2, 1, 0],
      ['write', 1, 1, 0],
    ]);
  });

  test('are none before there is a mark, and a mark that lies ahead stays', async () => {
    const first = await run('seq', null);
    expect([first.rows.length, first.rejected.length, first.plan.increment]).toEqual([
      3,
      2,
      { cursor: 'seq', value: '10' },
    ]);
    expect((await run('seq', '77')).plan.increment).toEqual({ cursor: 'seq', value: '77' });
  });

  test('cannot be told by a mark that is no value of the cursor', async () => {
    await expect(run('day', '77')).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(/read up to "77".*full run/) as string,
    });
  });
});

describe('a cursor of a type that only Parquet has', () => {
  test.each([
    ['real', { type: 'number' }, ['0.1', '0.2', '0.3']],
    ['decimal(9, 2)', { type: 'number' }, ['9.99', '10.00', '10.01']],
    ['utinyint', { type: 'integer' }, ['9', '10', '200']],
    [
      'timestamp_ns',
      { type: 'string', format: 'local-date-time' },
      ['2024-01-09', '2024-01-10 00:00:00.000001', '2024-01-10 00:00:00.000002'],
    ],
    ['timestamp_s', { type: 'string', format: 'local-date-time' }, ['2024-01-09 23:59:59', '2024-01-10', '2024-01-11']],
    ['varchar', { type: 'string', format: 'date' }, ['2024-01-09', '2024-01-10', '2024-01-11']],
    [
      'varchar',
      { type: 'string', format: 'date-time' },
      ['2024-01-10T01:00:00+02:00', '2024-01-10T00:00:00Z', '2024-01-09T23:00:00-02:00'],
    ],
  ])('%s goes on exactly behind what was read', async (type, schema, steps) => {
    const part = (count: number) =>
      parquetOf(
        steps
          .slice(0, count)
          .map((step, at) => `select ${String(at)} as id, '${step}'::${type} as seen`)
          .join(' union all '),
      );
    const contract = contractOf({ id: { type: 'integer' }, seen: schema }, { required: ['seen'] });
    const load = async (count: number, after: string | null) =>
      withSession(
        await part(count),
        definitionOf('a.parquet', { type: 'parquet' }),
        contract,
        async (session) => {
          const [range] = (await session.survey()).ranges;
          const mark = await session.newest(range as Range);
          await session.start(range as Range, null);
          const { goodFile } = await session.next();
          return { ids: parseCsv(readFileSync(goodFile, 'utf8')).map(([, id]) => id), mark };
        },
        { since: { cursor: 'seen', after } },
      );
    const first = await load(2, null);
    expect(first.ids).toEqual(['0', '1']);
    expect(await load(2, first.mark)).toEqual({ ids: [], mark: first.mark });
    const last = await load(3, first.mark);
    expect(last.ids).toEqual(['2']);
    expect(await load(3, last.mark)).toEqual({ ids: [], mark: last.mark });
  });
});
