import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';
import { parquetOf } from '../../support/parquet.ts';

const contract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Strike',
  type: 'object',
  required: ['id'],
  additionalProperties: false,
  properties: { id: { type: 'integer' }, state: { type: 'string', enum: ['MD', 'VA'] } },
};
const rules = [{ path: '', rule: 'additionalProperties', mode: 'evolve' as const }];
const records = [
  { id: 1, state: 'MD', 'Wind Speed': 3, wet: true, note: 'calm' },
  { id: 2, state: 'XX', 'Wind Speed': 4, wet: false, note: 'x' },
  { id: 3, state: 'VA', 'Wind Speed': 4.5 },
  { id: 4 },
];
const names = ['id', 'state', 'Wind Speed', 'wet', 'note'] as const;
const csv = [
  names.join(','),
  ...records.map((record) =>
    names.map((name) => String((record as Record<string, string | number | boolean>)[name] ?? '')).join(','),
  ),
].join('\n');
const ndjson = records.map((record) => JSON.stringify(record)).join('\n');

const parquet = `
  select * from (values
    (1::int, 'MD', 3::double, true, 'calm'), (2, 'XX', 4, false, 'x'), (3, 'VA', 4.5, null, null), (4, null, null, null, null))
  t(${names.map((name) => `"${name}"`).join(', ')})`;

const sources = [
  { name: 'strikes.csv', format: { type: 'csv' }, text: csv, types: ['text', 'text', 'text'] },
  { name: 'strikes.ndjson', format: { type: 'ndjson' }, text: ndjson, types: ['double precision', 'boolean', 'text'] },
  {
    name: 'strikes.json',
    format: { type: 'json' },
    text: JSON.stringify(records),
    types: ['double precision', 'boolean', 'text'],
  },
  {
    name: 'strikes.parquet',
    format: { type: 'parquet' },
    text: parquet,
    types: ['double precision', 'boolean', 'text'],
  },
];
/** Of a Parquet file the text is a query. */
const contentOf = ({ type }: { type: string }, text: string) => (type === 'parquet' ? parquetOf(text) : text);

describe.each(sources)('fields of $name that the contract does not name', ({ name, format, text, types }) => {
  let bench: EtlBench;
  beforeAll(async () => {
    bench = await etlBench();
    await bench.put(name, await contentOf(format, text));
  });
  afterAll(() => bench.remove());

  const definition = (more: object = { rules }, path = name) => ({
    ...definitionOf(path, format),
    contract: { name: 'strike', version: 1, ...more },
  });

  test('become columns where the mode is evolve, and nothing else of the contract gives way', async () => {
    const { plan, rows, rejected, read } = await bench.run(definition(), contract);
    expect(plan.columns.map(({ name: column, type }) => [column, type])).toEqual([
      ['id', 'bigint'],
      ['state', 'text'],
      ['wind_speed', types[0]],
      ['wet', types[1]],
      ['note', types[2]],
    ]);
    expect(plan.evolved).toEqual([
      { field: 'Wind Speed', column: 'wind_speed' },
      { field: 'wet', column: 'wet' },
      { field: 'note', column: 'note' },
    ]);
    expect(rows.map(([, ...values]) => values.map((value) => (value && Number(value) === 3 ? '3' : value)))).toEqual([
      ['1', 'MD', '3', 'true', 'calm'],
      ['3', 'VA', '4.5', null, null],
      ['4', null, null, null, null],
    ]);
    expect(
      rejected.map(({ recordNo, reasons }) => [recordNo, reasons.map(({ path, rule }) => `${path} ${rule}`)]),
    ).toEqual([[2, ['/state enum']]]);
    expect(read).toBe(4);
  });

  test('have the type of the dataset’s column, and are null where the source has them no longer', async () => {
    const object = await bench.pin(definition());
    const dataset = [
      { name: 'id', type: 'bigint' },
      { name: 'state', type: 'text' },
      { name: 'wet', type: 'text' },
      { name: 'gone', type: 'date' },
    ];
    const { signal } = new AbortController();
    const request = { definition: definition(), contract, object, dataset, workFolder: bench.workFolder, signal };
    const { columns } = await bench.engine.planSource(request);
    // A Parquet file says its types itself, and a dataset that has another refuses it.
    expect(columns).toContainEqual({ name: 'wet', type: format.type === 'parquet' ? 'boolean' : 'text' });
    expect(columns).toContainEqual({ name: 'gone', type: 'date' });
  });

  test('are refused as ever without the mode', async () => {
    const refused = bench.run(definition({}), contract).then(
      ({ rejected }) => rejected.map(({ recordNo }) => recordNo).join(),
      (error: unknown) => (error as { code: string }).code,
    );
    expect(await refused).toBe(['csv', 'parquet'].includes(format.type) ? 'SOURCE_INVALID' : '1,2,3');
  });

  test('are refused where there are too many, or two would be one column', async () => {
    const wide = Object.fromEntries(Array.from({ length: 101 }, (_each, i) => [`f${String(i)}`, 'x']));
    const twice = { 'a b': 'x', a_b: 'y' };
    for (const [record, message] of [
      [wide, /101 fields that the contract does not name/],
      [twice, /both become the column "a_b"/],
    ] as const) {
      const whole = { id: 1, ...record };
      const lines = [Object.keys(whole).join(','), Object.values(whole).join(',')].join('\n');
      const columns = Object.entries(whole).map(([field, value]) => `'${String(value)}' as "${field}"`);
      const content = {
        csv: lines,
        ndjson: JSON.stringify(whole),
        json: JSON.stringify([whole]),
        parquet: `select * replace (id::int as id) from (select ${columns.join(', ')})`,
      }[format.type];
      await bench.put('wide', await contentOf(format, content ?? ''));
      await expect(bench.run(definition({ rules }, 'wide'), contract)).rejects.toMatchObject({
        code: 'SOURCE_INVALID',
        message: expect.stringMatching(message) as string,
      });
    }
  });
});
