import type { Encoding, RecordField } from '../../../contracts/copybook/record-layout.ts';
import type { RowWriter } from '../row-writer.ts';
import { codePage, type CodePageName } from './code-pages.ts';

/**
 * Writes a field's bytes, which begin at `at`, as one cell; nothing for an absent value.
 *
 * @returns -1, or where the byte stands that cannot be
 */
export type FieldDecoder = (source: Uint8Array, at: number, row: RowWriter) => number;

export interface DecoderOptions {
  codePage: CodePageName;
  /** Numbers keep the leading zeros that their picture has, because somebody takes them for text. */
  padded: boolean;
}

const blank = 0x40;
const lowValue = 0x00;

/** The most bytes that a cell can take: three of UTF-8 for a byte, a digit for each half byte. */
export function cellBytesMax({ length }: RecordField): number {
  return length * 3 + 24;
}

export function fieldDecoder(field: RecordField, options: DecoderOptions): FieldDecoder {
  const { encoding, length } = field;
  if (encoding.kind === 'text') return textDecoder(length, options.codePage);
  const writeNumber = numberWriter(encoding.scale, options.padded);
  if (encoding.kind === 'zoned') return zonedDecoder(encoding, writeNumber);
  if (encoding.kind === 'packed') return packedDecoder(encoding, length, writeNumber);
  return binaryDecoder(encoding, length, writeNumber);
}

/** Words for a person who looks at a bad field. */
export function describeEncoding(encoding: Encoding): string {
  if (encoding.kind === 'text') return 'text without low values (X"00") in its middle';
  const digits = `${encoding.digits} digits`;
  if (encoding.kind === 'packed') return `packed decimal of ${digits}${encoding.signed ? '' : ' without sign'}`;
  if (encoding.kind === 'binary') return `binary of ${digits}${encoding.native ? '' : ' (COMP-5 would allow more)'}`;
  const place = encoding.leading ? 'leading' : 'trailing';
  const sign = encoding.signed ? ` with a ${place}${encoding.separate ? ' separate' : ''} sign` : ' without sign';
  return `zoned decimal of ${digits}${sign}`;
}

/** Blanks and low values at the end are padding; what is nothing else is absent. */
function textDecoder(length: number, name: CodePageName): FieldDecoder {
  const codePoints = codePage(name);
  // 0 sends a byte the slow way: NUL, the quote, and what takes more than one byte of UTF-8.
  const ascii = Uint8Array.from(codePoints, (point) => (point < 0x80 && point !== 34 ? point : 0));
  return (source, at, row) => {
    let end = at + length;
    while (end > at && (source[end - 1] === blank || source[end - 1] === lowValue)) end -= 1;
    if (end === at) return -1;
    const { buffer } = row;
    let { used } = row;
    buffer[used++] = 34;
    for (let each = at; each < end; each += 1) {
      const byte = source[each] as number;
      const letter = ascii[byte] as number;
      if (letter !== 0) {
        buffer[used++] = letter;
        continue;
      }
      const point = codePoints[byte] as number;
      if (point === 0) return each;
      if (point === 34) {
        buffer[used++] = 34;
        buffer[used++] = 34;
      } else if (point < 0x800) {
        buffer[used++] = 0xc0 | (point >> 6);
        buffer[used++] = 0x80 | (point & 0x3f);
      } else {
        buffer[used++] = 0xe0 | (point >> 12);
        buffer[used++] = 0x80 | ((point >> 6) & 0x3f);
        buffer[used++] = 0x80 | (point & 0x3f);
      }
    }
    buffer[used++] = 34;
    row.used = used;
    return -1;
  };
}

/** Digits of the number at hand, as values; one for the whole process, since nothing here waits. */
const digitsScratch = new Uint8Array(48);
type NumberWriter = (negative: boolean, count: number, row: RowWriter) => void;

/** Writes the scratch digits with point and sign, exactly. There is no minus zero in SQL. */
function numberWriter(scale: number, padded: boolean): NumberWriter {
  return (negative, count, row) => {
    const { buffer } = row;
    let { used } = row;
    let first = 0;
    while (first < count && digitsScratch[first] === 0) first += 1;
    if (negative && first < count) buffer[used++] = 45;
    const point = count - scale;
    const from = padded ? 0 : Math.min(first, Math.max(point - 1, 0));
    if (point <= 0) buffer[used++] = 48;
    for (let at = from; at < count; at += 1) {
      if (at === point) buffer[used++] = 46;
      buffer[used++] = 48 + (digitsScratch[at] as number);
    }
    row.used = used;
  };
}

/** Half byte of a sign: 1 plus, 2 minus, 0 none. A, C, E and F mean plus, B and D minus; unsigned fields know F alone. */
const signOfNibble = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 1, 1]);

function zonedDecoder(encoding: Encoding & { kind: 'zoned' }, write: NumberWriter): FieldDecoder {
  const { digits, signed, leading, separate, blankWhenZero } = encoding;
  const first = separate && leading ? 1 : 0;
  const signAt = leading ? 0 : separate ? digits : digits - 1;
  const overpunched = signed && !separate ? signAt : -1;
  const length = digits + (separate ? 1 : 0);
  const blankOr = (source: Uint8Array, at: number, bad: number, row: RowWriter): number => {
    if (!blankWhenZero) return bad;
    for (let each = at; each < at + length; each += 1) if (source[each] !== blank) return bad;
    digitsScratch.fill(0, 0, digits);
    write(false, digits, row);
    return -1;
  };
  return (source, at, row) => {
    let negative = false;
    if (separate) {
      const sign = source[at + signAt];
      if (sign === 0x60) negative = true;
      else if (sign !== 0x4e) return blankOr(source, at, at + signAt, row);
    }
    for (let digit = 0; digit < digits; digit += 1) {
      const byte = source[at + first + digit] as number;
      const value = byte & 0x0f;
      if (value > 9) return blankOr(source, at, at + first + digit, row);
      if (byte < 0xf0) {
        const sign = digit === overpunched ? (signOfNibble[byte >> 4] as number) : 0;
        if (sign === 0) return blankOr(source, at, at + first + digit, row);
        negative = sign === 2;
      }
      digitsScratch[digit] = value;
    }
    write(negative, digits, row);
    return -1;
  };
}

/** Two digits of a byte, as tens and ones; 255: one of them is none. */
const packedPair = Uint8Array.from({ length: 256 }, (_each, byte) =>
  byte >> 4 > 9 || (byte & 15) > 9 ? 255 : (byte >> 4) * 16 + (byte & 15),
);

function packedDecoder(encoding: Encoding & { kind: 'packed' }, length: number, write: NumberWriter): FieldDecoder {
  const { digits, signed } = encoding;
  const even = digits % 2 === 0;
  return (source, at, row) => {
    let count = 0;
    const last = at + length - 1;
    for (let each = at; each < last; each += 1) {
      const pair = packedPair[source[each] as number] as number;
      if (pair === 255) return each;
      digitsScratch[count++] = pair >> 4;
      digitsScratch[count++] = pair & 15;
    }
    const byte = source[last] as number;
    const sign = signOfNibble[byte & 15] as number;
    if (byte >> 4 > 9 || sign === 0 || (!signed && sign === 2)) return last;
    digitsScratch[count++] = byte >> 4;
    if (even) {
      // An even number of digits leaves the first half byte over; it must not carry a digit that the picture hides.
      if (digitsScratch[0] !== 0) return at;
      digitsScratch.copyWithin(0, 1, count);
      count -= 1;
    }
    write(sign === 2, count, row);
    return -1;
  };
}

function binaryDecoder(encoding: Encoding & { kind: 'binary' }, length: number, write: NumberWriter): FieldDecoder {
  const { digits, scale, signed, native } = encoding;
  const width = native ? Math.max(length === 2 ? 5 : length === 4 ? 10 : 20, scale + 1) : digits;
  const limit = 10 ** Math.min(digits, 15);
  const bigLimit = 10n ** BigInt(digits);
  const writeBig = (high: number, low: number, negative: boolean, row: RowWriter): boolean => {
    let big = (BigInt(high) << 32n) | BigInt(low);
    if (negative) big = (1n << 64n) - big;
    if (!native && big >= bigLimit) return false;
    const text = big.toString().padStart(width, '0');
    for (let digit = 0; digit < width; digit += 1) digitsScratch[digit] = text.charCodeAt(digit) - 48;
    write(negative, width, row);
    return true;
  };
  return (source, at, row) => {
    const high = length === 8 ? word(source, at) : 0;
    const low =
      length === 2 ? ((source[at] as number) << 8) | (source[at + 1] as number) : word(source, at + length - 4);
    const signBit = ((source[at] as number) & 0x80) !== 0;
    const negative = signed && signBit;
    if (length === 8 && (high > 0x1fffff || negative)) return writeBig(high, low, negative, row) ? -1 : at;
    let value = high * 0x100000000 + low;
    if (negative) value = (length === 2 ? 0x10000 : 0x100000000) - value;
    if (!native && digits <= 15 && value >= limit) return at;
    let digit = width - 1;
    for (; value > 0x7fffffff; digit -= 1) {
      const rest = Math.floor(value / 10);
      digitsScratch[digit] = value - rest * 10;
      value = rest;
    }
    // Below 31 bits, integers divide without becoming floating-point numbers.
    for (let small = value | 0; small > 0; digit -= 1) {
      const rest = (small / 10) | 0;
      digitsScratch[digit] = small - rest * 10;
      small = rest;
    }
    while (digit >= 0) digitsScratch[digit--] = 0;
    write(negative, width, row);
    return -1;
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
