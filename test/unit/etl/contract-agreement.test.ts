import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileContract, type Contract, validateContract } from '../../../src/contracts/contract.ts';
import { BatchSession } from '../../../src/etl/batch-session.ts';
import { definitionOf } from '../../support/etl.ts';

/** How a cell reads by the contract's own words: written as its type or else just text; an empty one is absent. */
function valueOf(cell: string, type: string): unknown {
  if (type === 'integer' && /^[+-]?\d+([.]0+)?$/.test(cell)) return Number(cell);
  if (type === 'number' && /^[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d+)?$/.test(cell)) return Number(cell);
  if (type === 'boolean' && /^(true|false)$/i.test(cell)) return cell.toLowerCase() === 'true';
  return cell;
}

const integerText = fc.oneof(
  fc.integer({ min: -30, max: 30 }).map(String),
  fc.maxSafeInteger().map(String),
  fc.constantFrom('', '1.5', '1.0', '+7', '007', '0x1F', '1_000', '1e3', ' 1', '1 ', '-', 'NaN', 'true', '½', '٣'),
);
const numberText = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  integerText,
  fc.constantFrom(
    '.5',
    '5.',
    '-.25',
    '1e3',
    '1E-2',
    '1e400',
    '-1e999',
    'inf',
    'Infinity',
    'nan',
    '0.1',
    '1,5',
    '1e',
    '.',
  ),
);
const booleanText = fc.constantFrom('true', 'false', 'TRUE', 'True', '1', '0', 't', 'yes', '', 'trUe ');
const plainText = fc.oneof(
  fc.string({
    unit: fc.constantFrom('a', 'b', 'A', '1', 'é', '😀', '\u0301', '"', ',', '\n', '\r\n', ' ', "'"),
    maxLength: 6,
  }),
  fc.constantFrom('red', 'green', 'blue', 'AB1', '', 'null'),
);
const timeText = fc.oneof(
  fc.constantFrom(
    '2020-02-29',
    '2021-02-29',
    '1900-02-29',
    '2000-02-29',
    '0000-01-01',
    '0001-01-01',
    '9999-12-31',
    '2020-13-01',
    '2020-1-1',
    'epoch',
    'infinity',
    '',
  ),
  fc.constantFrom(
    '2020-01-01T00:00:00Z',
    '2020-01-01t23:59:59.5+05:30',
    '2020-01-01T24:00:00Z',
    '2016-12-31T23:59:60Z',
    '2020-01-01T00:00:00',
    '2020-01-01 00:00:00Z',
  ),
  fc.constantFrom(
    '2020-01-01T00:00:00.123456Z',
    '2020-01-01T00:00:00.123450000Z',
    '2020-01-01T00:00:00+24:00',
    '9999-12-31T23:59:59-23:59',
    '2020-01-01T00:00:00+0530',
  ),
  fc
    .date({ noInvalidDate: true, min: new Date('0001-01-02'), max: new Date('9999-12-30') })
    .map((day) => day.toISOString()),
  fc
    .date({ noInvalidDate: true, min: new Date('0001-01-02'), max: new Date('9999-12-30') })
    .map((day) => day.toISOString().slice(0, 10)),
  fc
    .date({ noInvalidDate: true, min: new Date('0001-01-02'), max: new Date('9999-12-30') })
    .map((day) => day.toISOString().slice(0, -1)),
);

interface Case {
  schema: Record<string, unknown>;
  type: string;
  cells: string[];
}

const optional = <T>(name: string, value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> =>
  fc.option(value).map((each) => (each === null ? {} : { [name]: each }));
const merged = (...parts: fc.Arbitrary<Record<string, unknown>>[]): fc.Arbitrary<Record<string, unknown>> =>
  fc.tuple(...parts).map((each) => Object.assign({}, ...each) as Record<string, unknown>);

const bound = fc.oneof(
  fc.integer({ min: -20, max: 20 }),
  fc.double({ min: -20, max: 20, noNaN: true }),
  fc.constantFrom(2 ** 53, -1e300),
);
const bounds = merged(
  optional('minimum', bound),
  optional('maximum', bound),
  optional('exclusiveMinimum', bound),
  optional('exclusiveMaximum', bound),
);
const cells = (text: fc.Arbitrary<string>): fc.Arbitrary<string[]> => fc.array(text, { minLength: 12, maxLength: 30 });
const withType = (type: string, nullable: boolean): Record<string, unknown> => ({
  type: nullable ? [type, 'null'] : type,
});

const cases: fc.Arbitrary<Case> = fc.oneof(
  fc
    .tuple(
      merged(
        bounds,
        optional('multipleOf', fc.integer({ min: 1, max: 9 })),
        optional('enum', fc.uniqueArray(fc.integer({ min: -5, max: 30 }), { minLength: 1 })),
      ),
      fc.boolean(),
      cells(integerText),
    )
    .map(([rules, nullable, list]) => ({
      schema: { ...rules, ...withType('integer', nullable) },
      type: 'integer',
      cells: list,
    })),
  fc
    .tuple(
      merged(bounds, optional('multipleOf', fc.constantFrom(0.5, 3)), optional('const', fc.constantFrom(0.1, 5, 1000))),
      fc.boolean(),
      cells(numberText),
    )
    .map(([rules, nullable, list]) => ({
      schema: { ...rules, ...withType('number', nullable) },
      type: 'number',
      cells: list,
    })),
  fc.tuple(optional('const', fc.boolean()), fc.boolean(), cells(booleanText)).map(([rules, nullable, list]) => ({
    schema: { ...rules, ...withType('boolean', nullable) },
    type: 'boolean',
    cells: list,
  })),
  fc
    .tuple(
      merged(
        optional('minLength', fc.integer({ min: 0, max: 5 })),
        optional('maxLength', fc.integer({ min: 0, max: 5 })),
        optional('pattern', fc.constantFrom('^[A-Z]+', '.', '^.$', 'a|b$', '^\\w*$', '[^a]', '\\s', '\\ba')),
        optional('enum', fc.constantFrom<unknown[]>(['red', 'green'], ['red', 'null'], ["it's", 'é'])),
        optional('not', fc.constantFrom({ const: 'blue' }, { maxLength: 1 })),
      ),
      fc.boolean(),
      cells(plainText),
    )
    .map(([rules, nullable, list]) => ({
      schema: { ...rules, ...withType('string', nullable) },
      type: 'string',
      cells: list,
    })),
  fc
    .tuple(
      fc.constantFrom('date', 'date-time', 'local-date-time'),
      optional('pattern', fc.constantFrom('^2', '^19|^20')),
      cells(timeText),
    )
    .map(([format, rules, list]) => ({ schema: { type: 'string', format, ...rules }, type: 'string', cells: list })),
);

describe('the contract in SQL', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'flux-agree-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** What the engine decides: whether each cell's record is good. */
  async function decide(contract: Contract, list: readonly string[]): Promise<boolean[]> {
    const objectPath = join(folder, 'source.csv');
    const lines = list.map((cell, at) => `${at},${cell === '' ? '' : `"${cell.replaceAll('"', '""')}"`}`);
    const text = `n,value\n${lines.join('\n')}\n`;
    writeFileSync(objectPath, text);
    const session = await BatchSession.open({
      definition: definitionOf('source.csv', { type: 'csv' }),
      contract: contract as unknown as Record<string, unknown>,
      objectPath,
      objectByteCount: text.length,
      workFolder: folder,
      memoryMegabytes: 128,
    });
    try {
      const { ranges } = await session.survey();
      await session.start(ranges[0] ?? { from: {}, record: 0, records: 0 }, null);
      const batch = await session.next();
      const refused = new Set(batch.rejected.map(({ recordNo }) => recordNo));
      expect(batch.goodCount + refused.size).toBe(list.length);
      for (const { reasons } of batch.rejected) expect(reasons.length).toBeGreaterThan(0);
      return list.map((_cell, at) => !refused.has(at + 1));
    } finally {
      session.close();
    }
  }

  test('decides like Ajv about every record, for every keyword', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.boolean(), async ({ schema, type, cells: list }, required) => {
        const contract = validateContract({
          $schema: 'https://json-schema.org/draft/2020-12/schema',
          title: 'Agreement',
          type: 'object',
          properties: { n: { type: 'integer' }, value: schema },
          ...(required ? { required: ['value'] } : {}),
        });
        const check = compileContract(contract);
        const nullAllowed = check({ n: 1, value: null }).length === 0;
        const expected = list.map((cell, at) => {
          if (cell === '') return check(required && nullAllowed ? { n: at, value: null } : { n: at }).length === 0;
          return check({ n: at, value: valueOf(cell, type) }).length === 0;
        });
        const decided = await decide(contract, list);
        expect(list.map((cell, at) => [cell, decided[at]])).toEqual(list.map((cell, at) => [cell, expected[at]]));
      }),
      { numRuns: 80 },
    );
  });
});
