import { writeSync } from 'node:fs';

/** The two digits of a number below 100, as they follow each other: tens in the low byte, ones in the high one. */
const pairOf = Uint16Array.from(
  { length: 100 },
  (_each, value) => (48 + Math.floor(value / 10)) | ((48 + (value % 10)) << 8),
);
const billion = 1_000_000_000;

/** Writes a whole number from 0 to 2^53 in decimal digits. @returns the place behind the last of them */
export function writeDigits(buffer: Uint8Array, at: number, value: number): number {
  if (value < billion) return writeSmall(buffer, at, value | 0, digitCount(value | 0));
  const high = Math.floor(value / billion);
  return writeSmall(buffer, writeDigits(buffer, at, high), (value - high * billion) | 0, 9);
}

/** Writes so many digits of such a number, with zeros in front; it has no more. @returns the place behind the last of them */
export function writePadded(buffer: Uint8Array, at: number, value: number, digits: number): number {
  if (digits <= 9) return writeSmall(buffer, at, value | 0, digits);
  const high = Math.floor(value / billion);
  return writeSmall(buffer, writePadded(buffer, at, high, digits - 9), (value - high * billion) | 0, 9);
}

/** @param value of 31 bits: such integers divide without becoming floating-point numbers */
function writeSmall(buffer: Uint8Array, at: number, value: number, digits: number): number {
  let rest = value;
  let place = at + digits;
  while (place - at > 1) {
    const next = (rest / 100) | 0;
    const pair = pairOf[rest - next * 100] as number;
    place -= 2;
    buffer[place] = pair & 0xff;
    buffer[place + 1] = pair >> 8;
    rest = next;
  }
  if (place > at) buffer[at] = 48 + rest;
  return at + digits;
}

/** Digits of a whole number from 0 to 2^53. */
export function digitCount(value: number): number {
  if (value >= billion) return 9 + digitCount(Math.floor(value / billion));
  if (value < 10_000) return value < 100 ? (value < 10 ? 1 : 2) : value < 1000 ? 3 : 4;
  if (value < 1_000_000) return value < 100_000 ? 5 : 6;
  return value < 100_000_000 ? (value < 10_000_000 ? 7 : 8) : 9;
}

/** Writes `[start, end)`, in as many calls as the system wants. */
export function writeAll(fd: number, source: Uint8Array, start: number, end: number): void {
  for (let at = start; at < end;) at += writeSync(fd, source, at, end - at);
}
