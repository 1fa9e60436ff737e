import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { definitionOf } from '../../../support/etl.ts';
import { runSession } from '../session.ts';
import { binary, ebcdic, packed, type Written, zoned } from './encode.ts';

interface Shape {
  digits: number;
  scale: number;
  signed: boolean;
}

const shape = (digitsMax: number): fc.Arbitrary<Shape> =>
  fc
    .record({ digits: fc.integer({ min: 1, max: digitsMax }), scale: fc.nat(digitsMax), signed: fc.boolean() })
    .map((each) => ({ ...each, scale: Math.min(each.scale, each.digits) }));

const valuesOf = ({ digits, signed }: Shape): fc.Arbitrary<Written[]> =>
  fc.array(
    fc.record({
      digits: fc
        .bigInt({ min: 0n, max: 10n ** BigInt(digits) - 1n })
        .map((value) => String(value).padStart(digits, '0')),
      negative: signed ? fc.boolean() : fc.constant(false),
    }),
    { minLength: 1, maxLength: 20 },
  );

function picture({ digits, scale, signed }: Shape): string {
  const whole = digits - scale;
  return `${signed ? 'S' : ''}${whole > 0 ? `9(${whole})` : ''}${scale > 0 ? `V9(${scale})` : ''}`;
}

/** As Postgres would print it. */
function decimal({ digits, negative }: Written, scale: number): string {
  const value = BigInt(digits);
  const text = String(value).padStart(scale + 1, '0');
  const point = text.length - scale;
  const number = scale === 0 ? text : `${text.slice(0, point)}.${text.slice(point)}`;
  return negative && value > 0n ? `-${number}` : number;
}

async function readBack(copybook: string, records: readonly Buffer[]): Promise<(string | null)[]> {
  const { rows, rejected } = await runSession(
    Buffer.concat(records),
    definitionOf('a', { type: 'mainframe', copybook }),
    null,
  );
  expect(rejected).toEqual([]);
  return rows.map(([, value]) => value ?? null);
}

async function holds(
  digitsMax: number,
  usage: string,
  encode: (value: Written, shape: Shape) => Buffer,
): Promise<void> {
  const cases = shape(digitsMax).chain((each) => valuesOf(each).map((values) => ({ each, values })));
  await fc.assert(
    fc.asyncProperty(cases, async ({ each, values }) => {
      const found = await readBack(
        `01 R. 05 V PIC ${picture(each)} ${usage}.`,
        values.map((value) => encode(value, each)),
      );
      // DuckDB prints a decimal that is all fraction with or without its zero; both are the same number.
      const plain = (text: string | null): string => (text ?? 'null').replace(/^(-?)\./, '$10.');
      expect(found.map(plain)).toEqual(values.map((value) => decimal(value, each.scale)));
    }),
    { numRuns: 8 },
  );
}

describe('decoding what was encoded gives the value', { timeout: 60_000 }, () => {
  test('of packed decimals', () => holds(31, 'COMP-3', (value, { signed }) => packed(value, signed)));
  test('of zoned decimals with the sign in the last digit', () =>
    holds(31, '', (value, { signed }) => zoned(value, { signed, leading: false, separate: false })));
  test.each([
    ['LEADING', true, false],
    ['LEADING SEPARATE CHARACTER', true, true],
    ['TRAILING SEPARATE', false, true],
  ])('of zoned decimals with SIGN %s', (clause, leading, separate) =>
    fc.assert(
      fc.asyncProperty(
        shape(18).chain((each) => valuesOf({ ...each, signed: true }).map((values) => ({ each, values }))),
        async ({ each, values }) => {
          const records = values.map((value) => zoned(value, { signed: true, leading, separate }));
          const found = await readBack(
            `01 R. 05 V PIC ${picture({ ...each, scale: 0, signed: true })} SIGN IS ${clause}.`,
            records,
          );
          expect(found).toEqual(values.map((value) => decimal(value, 0)));
        },
      ),
      { numRuns: 8 },
    ),
  );
  test.each(['COMP', 'BINARY', 'COMP-4', 'COMP-5'])('of %s', (usage) =>
    holds(18, usage, (value, { digits }) => binary(value, digits <= 4 ? 2 : digits <= 9 ? 4 : 8)),
  );

  test('of texts, padded on the right, with commas and quotes', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: fc.constantFrom(...'aZ09 ",.'), maxLength: 12 }), { minLength: 1, maxLength: 20 }),
        async (texts) => {
          const found = await readBack(
            '01 R. 05 V PIC X(12).',
            texts.map((text) => ebcdic(text.padEnd(12))),
          );
          expect(found).toEqual(texts.map((text) => text.replace(/ +$/, '') || null));
        },
      ),
      { numRuns: 20 },
    ));
});

describe('COMP-5', () => {
  test('holds all that its bytes can, exactly', async () => {
    const record = Buffer.from('ffff' + 'ffffffffffffffff' + '8000000000000000', 'hex');
    const copybook = '01 R. 05 A PIC 9(4) COMP-5. 05 B PIC 9(18) COMP-5. 05 C PIC S9(18) COMP-5.';
    const { rows, survey } = await runSession(record, definitionOf('a', { type: 'mainframe', copybook }), null);
    expect(rows).toEqual([['1', '65535', '18446744073709551615', '-9223372036854775808']]);
    expect(survey.columns.map(({ type }) => type)).toEqual(['bigint', 'numeric', 'bigint']);
  });
});
