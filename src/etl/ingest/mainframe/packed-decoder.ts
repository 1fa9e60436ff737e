import type { Encoding } from '../../../contracts/copybook/record-layout.ts';
import { badByteAt, type FieldDecoder, signOfNibble } from './field-decoder.ts';

/** Two digits of a byte as ASCII, the first in the low byte; 0: one of them is none. */
const digitPair = Uint16Array.from({ length: 256 }, (_each, byte) =>
  byte >> 4 > 9 || (byte & 15) > 9 ? 0 : (48 + (byte >> 4)) | ((48 + (byte & 15)) << 8),
);

/**
 * The same of a number's first byte, whose zero is not written, and above them how many digits that leaves. No processor guesses how
 * long numbers are, nor their signs, so that neither is branched on.
 */
const firstDigits = Uint32Array.from(digitPair, (pair, byte) =>
  byte < 10 ? (pair >> 8) | (1 << 16) : pair === 0 ? 0 : pair | (2 << 16),
);

const minus = 16;
const none = 255;

/** A last byte: its digit, with `minus` where its sign is one; `none`: it cannot be. */
const lastByte = (signed: boolean): Uint8Array =>
  Uint8Array.from({ length: 256 }, (_each, byte) => {
    const sign = signOfNibble[byte & 15] as number;
    if (byte >> 4 > 9 || sign === 0 || (!signed && sign === 2)) return none;
    return (byte >> 4) + (sign === 2 ? minus : 0);
  });

/** Packed decimals: two digits a byte, and the sign in the last half byte. Their digits are written as they are read. */
export function packedDecoder(encoding: Encoding & { kind: 'packed' }, padded: boolean): FieldDecoder {
  const { digits, scale, signed } = encoding;
  const before = digits >> 1;
  /** An even number of digits leaves the first half byte over; it must not carry a digit that the picture hides. */
  const spare = digits % 2 === 0;
  const lastOf = lastByte(signed);
  const wholeHalves = 2 * before + 1 - scale;
  /** Bytes of the whole part; the point may stand in the middle of the next. */
  const wholeBytes = wholeHalves >> 1;
  const splits = wholeHalves % 2 === 1;

  const badByte = (source: Uint8Array, at: number): number => {
    for (let each = at; each < at + before; each += 1)
      if (digitPair[source[each] as number] === 0) return badByteAt(each);
    return badByteAt(lastOf[source[at + before] as number] === none ? at + before : at);
  };

  return (source, at, buffer, begin) => {
    const last = at + before;
    const ending = lastOf[source[last] as number] as number;
    if (ending === none || (spare && (source[at] as number) > 9)) return badByte(source, at);
    let used = begin;
    const wholeEnd = at + wholeBytes;
    let each = at;
    while (each < last && source[each] === 0) each += 1;
    // There is no minus zero in SQL.
    buffer[used] = 45;
    if (each < last || ending !== minus) used += ending >> 4;
    if (padded) each = at;
    else if (each > wholeEnd) each = wholeEnd;
    const digitsBegin = used;
    if (each < wholeEnd && (spare || !padded)) {
      const first = firstDigits[source[each] as number] as number;
      if (first === 0) return badByte(source, at);
      buffer[used] = first & 0xff;
      buffer[used + 1] = (first >> 8) & 0xff;
      used += first >> 16;
      each += 1;
    }
    for (; each < wholeEnd; each += 1) {
      const pair = digitPair[source[each] as number] as number;
      if (pair === 0) return badByte(source, at);
      buffer[used++] = pair & 0xff;
      buffer[used++] = pair >> 8;
    }
    if (scale > 0) {
      if (splits) {
        const pair = digitPair[source[each++] as number] as number;
        if (pair === 0) return badByte(source, at);
        buffer[used++] = pair & 0xff;
        buffer[used++] = 46;
        buffer[used++] = pair >> 8;
      } else {
        if (used === digitsBegin) buffer[used++] = 48;
        buffer[used++] = 46;
      }
      for (; each < last; each += 1) {
        const pair = digitPair[source[each] as number] as number;
        if (pair === 0) return badByte(source, at);
        buffer[used++] = pair & 0xff;
        buffer[used++] = pair >> 8;
      }
    }
    buffer[used++] = 48 + (ending & 15);
    return used;
  };
}
