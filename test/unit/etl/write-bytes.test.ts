import fc from 'fast-check';
import { expect, test } from 'vitest';
import { writeDigits, writePadded } from '../../../src/etl/write-bytes.ts';

const edges = Array.from({ length: 16 }, (_each, power) => 10 ** power).flatMap((edge) => [edge - 1, edge, edge + 1]);
const wholeNumbers = fc.oneof(
  fc.constantFrom(...edges, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53),
  fc.nat(),
  fc.maxSafeNat(),
);
const buffer = Buffer.alloc(48);
const writtenBy = (write: (at: number) => number): string => {
  buffer.fill(0x2e);
  const end = write(3);
  // Nothing but the digits is touched.
  expect(buffer.subarray(0, 3).toString() + buffer.subarray(end).toString()).toMatch(/^\.+$/);
  return buffer.toString('latin1', 3, end);
};

test('whole numbers are written as JavaScript prints them', () => {
  fc.assert(
    fc.property(wholeNumbers, (value) => {
      expect(writtenBy((at) => writeDigits(buffer, at, value))).toBe(String(value));
    }),
    { numRuns: 2000 },
  );
});

test('or with zeros in front', () => {
  fc.assert(
    fc.property(wholeNumbers, fc.nat(20), (value, more) => {
      const digits = String(value).length + more;
      expect(writtenBy((at) => writePadded(buffer, at, value, digits))).toBe(String(value).padStart(digits, '0'));
    }),
    { numRuns: 2000 },
  );
});
