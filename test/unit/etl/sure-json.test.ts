import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { compileContract, validateContract } from '../../../src/contracts/contract.ts';
import { modelContract } from '../../../src/etl/ingest/contract-model.ts';
import { CopyRows } from '../../../src/etl/sure/copy-rows.ts';
import { SureJson } from '../../../src/etl/sure/sure-json.ts';
import { binaryRows } from '../../support/copy-file.ts';
import { contractOf } from '../../support/etl.ts';

const contract = validateContract(
  contractOf(
    {
      note: { type: ['string', 'null'] },
      id: { type: 'integer', minimum: 1 },
      kind: { type: 'string', enum: ['new', 'old'] },
      short: { type: 'string', minLength: 2, maxLength: 12 },
      amount: { type: 'number', maximum: 1_000 },
      flag: { type: ['boolean', 'null'] },
      day: { type: 'string', format: 'date' },
    },
    { required: ['id'], additionalProperties: false },
  ),
);
const names = Object.keys(contract.properties ?? {});
const check = compileContract(contract);

/** Values as they are written: good ones of their member mostly, and any of the others'. */
const written = {
  note: ['"ab"', 'null', '""', '"a\\"b"', '"\\\\"', '"\\\\\\"\\\\"', '"é,😀"', '"\\u0041"', '"a\\nb"', '"a\tb"', '"}"'],
  id: ['1', '17', '0', '-1', '007', '1.0', '1e2', '"1"'],
  kind: ['"new"', '"old"', '"New"', '"new'],
  short: ['"ab"', '"a"', '"ééé"', '"😀"', '"a\\"b"', '"0123456789ab"', '"0123456789abc"', 'ab'],
  amount: ['2.50', '0', '1000', '1000.01', '-0.5', '.5', '1e3', '12345678901234567890'],
  flag: ['true', 'false', 'null', '"true"', 'truex', 'TRUE'],
  day: ['"2024-02-29"', '"2023-02-29"', '"2024-1-1"', '20240101'],
} as const satisfies Record<string, readonly string[]>;
const blanks = ['', ' ', '\t', ' \r '];

const values = fc.record(
  Object.fromEntries(
    names.map((name) => {
      const [good = '', ...others] = written[name as keyof typeof written];
      return [name, fc.oneof({ weight: 9, arbitrary: fc.constant(good) }, fc.constantFrom(good, ...others))];
    }),
  ),
);
/** Records that are written alike: from the second on they may be compared with the one before. */
const alike = fc
  .record({
    order: fc.shuffledSubarray(names, { minLength: 1 }),
    blank: fc.constantFrom(...blanks),
    records: fc.array(fc.record({ values, tail: fc.constantFrom('', '', '', ' ', 'x', ',', '}') }), { minLength: 1 }),
  })
  .map(({ order, blank, records }) =>
    records.map(({ values: of, tail }) => {
      const members = order.map((name) => `"${name}"${blank}:${blank}${of[name] ?? ''}`);
      return `{${blank}${members.join(`${blank},${blank}`)}}${tail}`;
    }),
  );

const types = {
  note: 'text',
  id: 'bigint',
  kind: 'text',
  short: 'text',
  amount: 'double precision',
  flag: 'boolean',
  day: 'date',
} as const;
const columnTypes = names.map((name) => types[name as keyof typeof types]);

/** As COPY is to read them: the record's number, then a cell a column. */
function rowOf(recordNo: number, value: Record<string, unknown>): (string | null)[] {
  const cells = names.map((name) => value[name] as string | number | boolean | null | undefined);
  return [String(recordNo), ...cells.map((cell) => (cell === null || cell === undefined ? null : String(cell)))];
}

const folder = mkdtempSync(join(tmpdir(), 'flux json-'));
afterAll(() => rmSync(folder, { recursive: true }));
const sureJson = (): SureJson =>
  SureJson.of(modelContract(contract), columnTypes, new CopyRows(() => join(folder, 'rows'))) as SureJson;

describe('JSON records', () => {
  test('that are taken are JSON, meet their contract and come with their own values, however the others are written', () => {
    let taken = 0;
    fc.assert(
      fc.property(fc.array(alike, { minLength: 1, maxLength: 20 }), (groups) => {
        const texts = groups.flat();
        const sure = sureJson();
        const source = Buffer.from(`${texts.join('\n')}\n`);
        const expected: (string | null)[][] = [];
        let start = 0;
        for (const [at, text] of texts.entries()) {
          const end = start + Buffer.byteLength(text);
          if (sure.take(at + 1, source, start, end)) {
            const value = JSON.parse(text) as Record<string, unknown>;
            expect(check(value)).toEqual([]);
            expected.push(rowOf(at + 1, value));
          }
          start = end + 1;
        }
        const made = sure.rows.finish();
        expect(made?.count ?? 0).toBe(expected.length);
        const rows = made && binaryRows(readFileSync(made.path), ['bigint', ...columnTypes]);
        expect(rows ?? []).toEqual(expected);
        taken += expected.length;
      }),
      { numRuns: 500 },
    );
    expect(taken).toBeGreaterThan(500);
  });

  test('are all taken where each is good, in whatever order and with whichever members', () => {
    const sure = sureJson();
    const good = fc.sample(
      fc.shuffledSubarray(names, { minLength: 1 }).filter((order) => order.includes('id')),
      { numRuns: 1_000, seed: 7 },
    );
    const untaken = good.filter((order, at) => {
      const text = `{${order.map((name) => `"${name}":${written[name as keyof typeof written][0]}`).join(',')}}`;
      const source = Buffer.from(text);
      return !sure.take(at + 1, source, 0, source.length);
    });
    expect(untaken).toEqual([]);
    expect(sure.rows.finish()?.count).toBe(good.length);
  });
});
