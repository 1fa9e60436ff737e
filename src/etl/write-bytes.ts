import { writeSync } from 'node:fs';

/** Writes a whole number from 0 to 2^53 in decimal digits. @returns the place behind the last of them */
export function writeDigits(buffer: Uint8Array, at: number, value: number): number {
  let digits = 1;
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits += 1;
  let rest = value;
  for (let place = at + digits - 1; place >= at; place -= 1) {
    const next = Math.floor(rest / 10);
    buffer[place] = 48 + rest - next * 10;
    rest = next;
  }
  return at + digits;
}

/** Writes `[start, end)`, in as many calls as the system wants. */
export function writeAll(fd: number, source: Uint8Array, start: number, end: number): void {
  for (let at = start; at < end;) at += writeSync(fd, source, at, end - at);
}
