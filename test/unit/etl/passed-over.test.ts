import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

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
const sources = [
  {
    name: 'readings.csv',
    format: { type: 'csv' },
    text: [names.join(','), ...records.map((record) => Object.values(record).join(','))].join('\n'),
  },
  { name: 'readings.ndjson', format: { type: 'ndjson' }, text: records.map((each) => JSON.stringify(each)).join('\n') },
];

describe.each(sources)('records of $name that an earlier run has read', ({ name, format, text }) => {
  let bench: EtlBench;
  beforeAll(async () => {
    bench = await etlBench();
    await bench.put(name, text);
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
