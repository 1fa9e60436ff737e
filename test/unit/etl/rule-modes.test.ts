import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

const contract = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Strike',
  type: 'object',
  required: ['id'],
  additionalProperties: false,
  properties: {
    id: { type: 'integer' },
    height: { type: 'integer', minimum: 0 },
    state: { type: 'string', enum: ['MD', 'VA'] },
    contact: { type: 'string', format: 'email' },
  },
};

const lines = [
  'id,height,state,contact',
  '1,10,MD,a@example.gov',
  '2,-5,VA,',
  '3,tall,XX,',
  'x,1,MD,',
  '5,7,MD,nobody',
];
const records = [
  { id: 1, height: 10, state: 'MD', contact: 'a@example.gov' },
  { id: 2, height: -5, state: 'VA' },
  { id: 3, height: 'tall', state: 'XX' },
  { id: 'x', height: 1, state: 'MD' },
  { id: 5, height: 7, state: 'MD', contact: 'nobody' },
];

/** The same records in columns of text, where SQL judges and Ajv what SQL cannot, and as JSON, where Ajv judges all. */
const sources = [
  { name: 'strikes.csv', format: { type: 'csv' }, text: `${lines.join('\n')}\n` },
  { name: 'strikes.ndjson', format: { type: 'ndjson' }, text: records.map((each) => JSON.stringify(each)).join('\n') },
];

describe.each(sources)('the modes of a contract’s rules in $name', ({ name, format, text }) => {
  let bench: EtlBench;
  beforeAll(async () => {
    bench = await etlBench();
    await bench.put(name, text);
  });
  afterAll(() => bench.remove());

  const run = (more: object) =>
    bench.run({ ...definitionOf(name, format), contract: { name: 'strike', version: 1, ...more } }, contract);

  test('quarantine rejects each record that breaks a rule, with every reason', async () => {
    const { rows, rejected, dropped, frozen } = await run({});
    expect(rows.map(([, id]) => id)).toEqual(['1']);
    expect(rejected.map(({ recordNo }) => recordNo)).toEqual([2, 3, 4, 5]);
    const [, third] = rejected;
    expect(third?.reasons.map(({ path }) => path).sort()).toEqual(['/height', '/state']);
    expect([dropped, frozen]).toEqual([[], null]);
  });

  test('drop_value leaves out what a record can do without, counts it, and rejects the rest', async () => {
    const { rows, rejected, dropped } = await run({ onViolation: 'drop_value' });
    expect(rows.map(([, ...values]) => values)).toEqual([
      ['1', '10', 'MD', 'a@example.gov'],
      ['2', null, 'VA', null],
      ['3', null, null, null],
      ['5', '7', 'MD', null],
    ]);
    expect(rejected.map(({ recordNo }) => recordNo)).toEqual([4]);
    expect(dropped).toEqual(
      expect.arrayContaining([
        { path: '/height', rule: 'minimum', count: 1 },
        { path: '/height', rule: 'type', count: 1 },
        { path: '/state', rule: 'enum', count: 1 },
        { path: '/contact', rule: 'format', count: 1 },
      ]),
    );
  });

  test('a rule that is named has its own mode', async () => {
    const rules = [
      { path: '/height', rule: 'minimum', mode: 'drop_value' },
      { path: '/state', mode: 'freeze' },
    ];
    const { rows, rejected, frozen, dropped } = await run({ rules });
    expect(rows.map(([, id, height]) => [id, height])).toEqual([
      ['1', '10'],
      ['2', null],
    ]);
    expect(rejected.map(({ recordNo }) => recordNo)).toEqual([3, 4, 5]);
    expect(frozen).toEqual({ recordNo: 3, path: '/state', rule: 'enum' });
    expect(dropped).toEqual([{ path: '/height', rule: 'minimum', count: 1 }]);
  });

  test('freeze names the first record that breaks a rule', async () => {
    expect((await run({ onViolation: 'freeze' })).frozen).toMatchObject({ recordNo: 2, path: '/height' });
  });
});
