import type { Encoding } from '../../../contracts/copybook/record-layout.ts';
import { writePadded } from '../../write-bytes.ts';
import { badByteAt, type FieldDecoder, signOfNibble } from './field-decoder.ts';

const blank = 0x40;
const zero = 0xf0;
const minus = 16;
const none = 255;

/** A digit whose zone is a sign: its value, with `minus` where it is one; `none`: it cannot be. */
const overpunchedDigit = Uint8Array.from({ length: 256 }, (_each, byte) => {
  const sign = signOfNibble[byte >> 4] as number;
  return (byte & 15) > 9 || sign === 0 ? none : (byte & 15) + (sign === 2 ? minus : 0);
});

/** Zoned decimals: a digit a byte, the sign in a zone or in a byte of its own. Their digits are written as they are read. */
export function zonedDecoder(encoding: Encoding & { kind: 'zoned' }, padded: boolean): FieldDecoder {
  const { digits, scale, signed, leading, separate, blankWhenZero } = encoding;
  const firstDigit = separate && leading ? 1 : 0;
  const signAt = leading ? 0 : separate ? digits : digits - 1;
  const overpunched = signed && !separate;
  const length = digits + (separate ? 1 : 0);

  const badByte = (source: Uint8Array, at: number): number => {
    const sign = source[at + signAt] as number;
    if (separate && sign !== 0x60 && sign !== 0x4e) return at + signAt;
    for (let each = at + firstDigit; each < at + firstDigit + digits; each += 1) {
      const byte = source[each] as number;
      const isSign = overpunched && each === at + signAt;
      if (isSign ? overpunchedDigit[byte] === none : byte < zero || byte > 0xf9) return each;
    }
    return at;
  };
  /** A field of blanks is zero where the copybook says so. */
  const unreadable: FieldDecoder = (source, at, buffer, begin) => {
    const isBlank = blankWhenZero && source.subarray(at, at + length).every((byte) => byte === blank);
    if (!isBlank) return badByteAt(badByte(source, at));
    const used = writePadded(buffer, begin, 0, padded ? Math.max(digits - scale, 1) : 1);
    if (scale === 0) return used;
    buffer[used] = 46;
    return writePadded(buffer, used + 1, 0, scale);
  };

  return (source, at, buffer, begin) => {
    const first = at + firstDigit;
    const end = first + digits;
    const point = end - scale;
    const signByte = source[at + signAt] as number;
    let signPlace = -1;
    let signDigit = 0;
    let negative = false;
    if (overpunched) {
      const found = overpunchedDigit[signByte] as number;
      if (found === none) return unreadable(source, at, buffer, begin);
      negative = found >= minus;
      signPlace = at + signAt;
      signDigit = found & 15;
    } else if (separate) {
      if (signByte !== 0x60 && signByte !== 0x4e) return unreadable(source, at, buffer, begin);
      negative = signByte === 0x60;
    }
    let each = first;
    while (each < end && (each === signPlace ? signDigit === 0 : source[each] === zero)) each += 1;
    let used = begin;
    // There is no minus zero in SQL.
    if (negative && each < end) buffer[used++] = 45;
    if (point === first) buffer[used++] = 48;
    if (padded) each = first;
    else if (each >= point) each = Math.max(point - 1, first);
    for (; each < end; each += 1) {
      const digit = each === signPlace ? signDigit : (source[each] as number) - zero;
      if (digit < 0 || digit > 9) return unreadable(source, at, buffer, begin);
      if (each === point) buffer[used++] = 46;
      buffer[used++] = 48 + digit;
    }
    return used;
  };
}
