/** Days and times as RFC 3339 writes them, as the numbers that PostgreSQL keeps. NaN: it is not surely written so. */

/** Every reader knows these years without a doubt, whatever the offset. */
const [yearMin, yearMax] = [1000, 9998];
/** From 0001-01-01 on. */
const daysTo2000 = 730_119;
const daysBefore = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const daysOf = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const microsecondsADay = 86_400_000_000n;
const [dash, colon, point] = [45, 58, 46];

/** Days since 2000-01-01 of the day that is written in the ten bytes from `start` on. */
export function dayNumber(bytes: Uint8Array, start: number): number {
  const century = twoDigits(bytes, start);
  const inCentury = twoDigits(bytes, start + 2);
  const month = twoDigits(bytes, start + 5);
  const day = twoDigits(bytes, start + 8);
  if (bytes[start + 4] !== dash || bytes[start + 7] !== dash || inCentury < 0) return NaN;
  const year = century * 100 + inCentury;
  if (year < yearMin || year > yearMax || month < 1 || month > 12 || day < 1) return NaN;
  const leapDay = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 1 : 0;
  if (day > (daysOf[month - 1] as number) + (month === 2 ? leapDay : 0)) return NaN;
  const years = year - 1;
  const leapDays = Math.floor(years / 4) - Math.floor(years / 100) + Math.floor(years / 400);
  const inYear = (daysBefore[month - 1] as number) + (month > 2 ? leapDay : 0) + day - 1;
  return years * 365 + leapDays + inYear - daysTo2000;
}

/** Microseconds since midnight of the time in `bytes[start, end)`, which is written to the second, or to six digits of it. */
export function microsecondOfDay(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 8 || bytes[start + 2] !== colon || bytes[start + 5] !== colon) return NaN;
  const hour = twoDigits(bytes, start);
  const minute = twoDigits(bytes, start + 3);
  const second = twoDigits(bytes, start + 6);
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return NaN;
  const fraction = end - start === 8 ? 0 : sixDigits(bytes, start + 8, end);
  return ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction;
}

/** Microseconds since 2000-01-01T00:00:00 of the day and time in `bytes[start, end)`, which are known to be there. */
export function momentAt(bytes: Uint8Array, start: number, end: number): bigint {
  return BigInt(dayNumber(bytes, start)) * microsecondsADay + BigInt(microsecondOfDay(bytes, start + 11, end));
}

/** A point, and one to six digits behind it. */
function sixDigits(bytes: Uint8Array, start: number, end: number): number {
  if (bytes[start] !== point || end - start < 2 || end - start > 7) return NaN;
  let value = 0;
  for (let at = start + 1; at < start + 7; at += 1) {
    const found = at < end ? digit(bytes, at) : 0;
    if (found < 0) return NaN;
    value = value * 10 + found;
  }
  return value;
}

/** -1: not a digit. */
function digit(bytes: Uint8Array, at: number): number {
  const byte = bytes[at] as number;
  return byte >= 48 && byte <= 57 ? byte - 48 : -1;
}

/** Negative: not two digits. */
function twoDigits(bytes: Uint8Array, at: number): number {
  const tens = digit(bytes, at);
  const ones = digit(bytes, at + 1);
  return tens < 0 || ones < 0 ? -100_000 : tens * 10 + ones;
}
