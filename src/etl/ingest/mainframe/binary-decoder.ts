import type { Encoding } from '../../../contracts/copybook/record-layout.ts';
import { digitCount, writeDigits, writePadded } from '../../write-bytes.ts';
import { badByteAt, type FieldDecoder } from './field-decoder.ts';

const wordCount = 2 ** 32;
const halfCount = 2 ** 16;
const billion = 1_000_000_000;
/** Larger high words make numbers that JavaScript's own do not hold exactly. */
const exactHighMax = 2 ** 21 - 1;

/** Big-endian integers of two, four or eight bytes, with the point where the picture has it. */
export function binaryDecoder(encoding: Encoding & { kind: 'binary' }, length: number, padded: boolean): FieldDecoder {
  const { digits, scale, signed, native } = encoding;
  const width = native ? Math.max(length === 2 ? 5 : length === 4 ? 10 : 20, scale + 1) : digits;
  const wholeWidth = Math.max(width - scale, 1);
  const limit = native || digits > 15 ? Infinity : 10 ** digits;
  /** Of what a number counts in billions. */
  const billionsLimit = native ? Infinity : 10 ** (digits - 9);
  const fraction = 10 ** scale;

  /** A number beyond 2^53: it is divided by hand, half a word after the other. */
  const writeBig = (high: number, low: number, buffer: Uint8Array, begin: number): number => {
    const first = Math.floor(high / billion);
    const upper = (high - first * billion) * halfCount + (low >>> 16);
    const second = Math.floor(upper / billion);
    const lower = (upper - second * billion) * halfCount + (low & 0xffff);
    const third = Math.floor(lower / billion);
    const billions = first * wordCount + second * halfCount + third;
    if (billions >= billionsLimit) return -1;
    const count = Math.max(digitCount(billions), (padded ? wholeWidth + scale : scale + 1) - 9);
    const end = writePadded(buffer, writePadded(buffer, begin, billions, count), lower - third * billion, 9);
    if (scale === 0) return end;
    buffer.copyWithin(end - scale + 1, end - scale, end);
    buffer[end - scale] = 46;
    return end + 1;
  };

  return (source, at, buffer, begin) => {
    let low = length === 2 ? ((source[at] as number) << 8) | (source[at + 1] as number) : word(source, at + length - 4);
    let high = length === 8 ? word(source, at) : 0;
    let used = begin;
    if (signed && (source[at] as number) > 0x7f) {
      buffer[used++] = 45;
      if (length === 8) high = (low === 0 ? wordCount : wordCount - 1) - high;
      low = length === 2 ? 0x10000 - low : low === 0 ? 0 : wordCount - low;
    }
    if (high > exactHighMax) {
      const end = writeBig(high, low, buffer, used);
      return end === -1 ? badByteAt(at) : end;
    }
    const value = high * wordCount + low;
    if (value >= limit) return badByteAt(at);
    const whole = scale === 0 ? value : Math.floor(value / fraction);
    used = padded ? writePadded(buffer, used, whole, wholeWidth) : writeDigits(buffer, used, whole);
    if (scale === 0) return used;
    buffer[used] = 46;
    return writePadded(buffer, used + 1, value - whole * fraction, scale);
  };
}

/** 32 bits, big-endian, unsigned. */
function word(source: Uint8Array, at: number): number {
  return (
    (((source[at] as number) << 24) |
      ((source[at + 1] as number) << 16) |
      ((source[at + 2] as number) << 8) |
      (source[at + 3] as number)) >>>
    0
  );
}
