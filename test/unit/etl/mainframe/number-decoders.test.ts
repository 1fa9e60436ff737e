import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Encoding } from '../../../../src/contracts/copybook/record-layout.ts';
import { badByteAt } from '../../../../src/etl/ingest/mainframe/field-decoder.ts';
import { cellBytesMax, fieldDecoder } from '../../../../src/etl/ingest/mainframe/field-decoders.ts';
import { binary, packed, zoned } from './encode.ts';
import { type Plain, plainNumber } from './plain-decoders.ts';

type NumberEncoding = Exclude<Encoding, { kind: 'text' }>;

function lengthOf(encoding: NumberEncoding): number {
  if (encoding.kind === 'packed') return (encoding.digits >> 1) + 1;
  if (encoding.kind === 'zoned') return encoding.digits + (encoding.separate ? 1 : 0);
  return encoding.digits <= 4 ? 2 : encoding.digits <= 9 ? 4 : 8;
}

type Decode = (bytes: Uint8Array) => Plain;

/** The product's decoder, on bytes that have others around them. */
function decoderOf(encoding: NumberEncoding, padded: boolean): Decode {
  const length = lengthOf(encoding);
  const field = { name: 'V', line: 1, offset: 0, length, encoding, redefines: false, element: null, after: [] };
  const decode = fieldDecoder(field, { codePage: 'cp037', padded });
  const source = new Uint8Array(length + 4).fill(0xff);
  const cell = Buffer.alloc(cellBytesMax(field) + 2);
  return (bytes) => {
    source.set(bytes, 2);
    cell.fill(0x2f);
    const end = decode(source, 2, cell, 1);
    if (cell[0] !== 0x2f || cell.at(-1) !== 0x2f) throw new Error('written beyond the room of the cell');
    return end < 0 ? { bad: badByteAt(end) - 2 } : { text: cell.toString('latin1', 1, end) };
  };
}

/** Pictures of every usage; no field has more digits than its usage allows. */
const encodings: fc.Arbitrary<NumberEncoding> = fc
  .record({
    kind: fc.constantFrom('packed', 'zoned', 'binary'),
    digits: fc.integer({ min: 1, max: 31 }),
    scale: fc.oneof(fc.constant(0), fc.constant(2), fc.nat(31)),
    signed: fc.boolean(),
    leading: fc.boolean(),
    separate: fc.boolean(),
    blankWhenZero: fc.boolean(),
    native: fc.boolean(),
  })
  .map(({ kind, native, leading, separate, blankWhenZero, ...each }): NumberEncoding => {
    const digits = kind === 'binary' ? Math.min(each.digits, 18) : each.digits;
    const { signed } = each;
    const shape = { digits, scale: Math.min(each.scale, digits), signed };
    if (kind === 'packed') return { kind, ...shape };
    if (kind === 'binary') return { kind, ...shape, native };
    return { kind: 'zoned', ...shape, leading: signed && leading, separate: signed && separate, blankWhenZero };
  });

/** Small numbers and large ones, so that zeros stand in front. */
const writtenAs = (encoding: NumberEncoding): fc.Arbitrary<Uint8Array> =>
  fc
    .record({
      value: fc
        .integer({ min: 0, max: encoding.digits })
        .chain((count) => fc.bigInt({ min: 0n, max: 10n ** BigInt(count) - 1n })),
      negative: fc.boolean(),
    })
    .map(({ value, negative }) => {
      const written = {
        digits: String(value).padStart(encoding.digits, '0'),
        negative: negative && encoding.signed,
      };
      if (encoding.kind === 'packed') return packed(written, encoding.signed);
      if (encoding.kind === 'zoned') return zoned(written, encoding);
      return binary(written, lengthOf(encoding));
    });

/** What numbers are written as, the same with a byte that is another one, bytes of digits and signs, and any bytes at all. */
const bytesOf = (encoding: NumberEncoding): fc.Arbitrary<Uint8Array> => {
  const length = lengthOf(encoding);
  const likely = fc.constantFrom(
    0x00,
    0x0c,
    0x0d,
    0x1c,
    0x9f,
    0x40,
    0x4e,
    0x60,
    0xc0,
    0xd0,
    0xd9,
    0xf0,
    0xf9,
    0xfa,
    0xff,
  );
  const any = (byte: fc.Arbitrary<number>): fc.Arbitrary<Uint8Array> =>
    fc.array(byte, { minLength: length, maxLength: length }).map((bytes) => Uint8Array.from(bytes));
  const damaged = fc
    .record({ bytes: writtenAs(encoding), at: fc.nat(length - 1), byte: fc.oneof(likely, fc.nat(255)) })
    .map(({ bytes, at, byte }) => Uint8Array.from(bytes).fill(byte, at, at + 1));
  const blanks = fc.constant(new Uint8Array(length).fill(0x40));
  return fc.oneof(writtenAs(encoding), damaged, any(likely), any(fc.nat(255)), blanks);
};

test('numbers and refusals are those of decoding digit by digit', () => {
  const cases = fc.record({ encoding: encodings, padded: fc.boolean() }).chain(({ encoding, padded }) =>
    fc.record({
      encoding: fc.constant(encoding),
      padded: fc.constant(padded),
      fields: fc.array(bytesOf(encoding), { minLength: 10, maxLength: 30 }),
    }),
  );
  fc.assert(
    fc.property(cases, ({ encoding, padded, fields }) => {
      const decode = decoderOf(encoding, padded);
      for (const bytes of fields) expect(decode(bytes)).toEqual(plainNumber(encoding, bytes, padded));
    }),
    { numRuns: 1500 },
  );
});

const sign = { leading: false, separate: false, blankWhenZero: true };

describe('every two bytes that there are', () => {
  test.each<NumberEncoding>([
    { kind: 'packed', digits: 3, scale: 0, signed: true },
    { kind: 'packed', digits: 3, scale: 2, signed: false },
    { kind: 'packed', digits: 2, scale: 1, signed: true },
    { kind: 'packed', digits: 2, scale: 2, signed: true },
    { kind: 'zoned', digits: 2, scale: 0, signed: true, ...sign },
    { kind: 'zoned', digits: 2, scale: 1, signed: false, ...sign },
    { kind: 'zoned', digits: 2, scale: 2, signed: true, ...sign, leading: true },
    { kind: 'zoned', digits: 1, scale: 0, signed: true, ...sign, separate: true },
    { kind: 'zoned', digits: 1, scale: 1, signed: true, ...sign, leading: true, separate: true },
    { kind: 'binary', digits: 4, scale: 0, signed: true, native: false },
    { kind: 'binary', digits: 4, scale: 2, signed: true, native: true },
    { kind: 'binary', digits: 1, scale: 1, signed: false, native: false },
  ])('$kind of $digits digits, $scale behind the point', (encoding) => {
    for (const padded of [false, true]) {
      const decode = decoderOf(encoding, padded);
      const bytes = new Uint8Array(2);
      const differing: string[] = [];
      for (let word = 0; word < 0x1_00_00; word += 1) {
        bytes[0] = word >> 8;
        bytes[1] = word & 0xff;
        const [found, expected] = [JSON.stringify(decode(bytes)), JSON.stringify(plainNumber(encoding, bytes, padded))];
        if (found !== expected) differing.push(`X"${word.toString(16)}": ${found}, expected ${expected}`);
      }
      expect(differing).toEqual([]);
    }
  });
});

describe('binary fields of eight bytes', () => {
  const edges = [0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 10n ** 9n, 10n ** 15n, 10n ** 18n, 2n ** 63n, 2n ** 64n];
  const near = edges.flatMap((edge) => [-2n, -1n, 0n, 1n, 2n].flatMap((more) => [edge + more, -edge + more]));
  const values = fc.oneof(fc.constantFrom(...near), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }));

  test('are exact at the edges of what JavaScript, 32 bits and the picture hold', () => {
    const options = fc.record({
      digits: fc.integer({ min: 10, max: 18 }),
      scale: fc.nat(18),
      signed: fc.boolean(),
      native: fc.boolean(),
      padded: fc.boolean(),
      value: values,
    });
    fc.assert(
      fc.property(options, ({ digits, scale, signed, native, padded, value }) => {
        const encoding: NumberEncoding = { kind: 'binary', digits, scale: Math.min(scale, digits), signed, native };
        const bytes = Buffer.alloc(8);
        bytes.writeBigUInt64BE(BigInt.asUintN(64, value));
        expect(decoderOf(encoding, padded)(bytes)).toEqual(plainNumber(encoding, bytes, padded));
      }),
      { numRuns: 3000 },
    );
  });
});
