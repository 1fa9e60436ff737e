/**
 * What tells a number that was given out from one that only has its form: check digits, and the ranges that issuers publish. Each takes
 * the digits as they were written, with or without what stands between them.
 */

const digitsOf = (text: string): string => text.replaceAll(/\D/g, '');

/** ISO/IEC 7812-1's check digit (Luhn): of numbers that happen to be that long, nine in ten have another. */
export function hasCheckDigit(text: string): boolean {
  const digits = digitsOf(text);
  let sum = 0;
  for (let i = 0; i < digits.length; i += 1) {
    const digit = Number(digits[digits.length - 1 - i]);
    const doubled = i % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

/** ISO/IEC 7812-1, annex B. All digits equal would pass for zeros; nobody issues such a number. */
export function isCard(text: string): boolean {
  const digits = digitsOf(text);
  return /^[2-6]\d{12,18}$/.test(digits) && new Set(digits).size > 1 && hasCheckDigit(digits);
}

/**
 * A routing number of the American Bankers Association: the Federal Reserve's districts (00 to 12, of which 00 is the government's),
 * thrift institutions (21 to 32), electronic ones (61 to 72) and traveller's cheques (80), and weights of 3, 7 and 1.
 */
export function isRoutingNumber(text: string): boolean {
  const digits = digitsOf(text);
  if (!/^(?:0\d|1[0-2]|2[1-9]|3[0-2]|6[1-9]|7[0-2]|80)\d{7}$/.test(digits) || new Set(digits).size === 1) return false;
  const weights = [3, 7, 1];
  return [...digits].reduce((sum, digit, at) => sum + Number(digit) * (weights[at % 3] ?? 0), 0) % 10 === 0;
}

/** A National Provider Identifier (45 CFR 162.406): ten digits that begin with 1 or 2, with Luhn's check digit behind the prefix 80840. */
export function isProviderIdentifier(text: string): boolean {
  const digits = digitsOf(text);
  return /^[12]\d{9}$/.test(digits) && hasCheckDigit(`80840${digits}`);
}

/** Social Security: area 000, 666 and 9xx, group 00 and serial 0000 are never issued (SSA, since the 2011 randomisation). */
export function isIssuedSsn(text: string): boolean {
  return /^(?!000|666|9)\d{3}(?!00)\d{2}(?!0000)\d{4}$/.test(digitsOf(text));
}

/** Employer Identification Number: the prefixes that the IRS assigns. */
export function isIssuedEin(text: string): boolean {
  return /^(?:0[1-6]|1[0-6]|2[0-7]|3\d|4[0-8]|5\d|6[0-8]|7[1-7]|8[0-8]|9[0-589])\d{7}$/.test(digitsOf(text));
}

/** E.164 of other countries, or the North American plan, where neither area code nor exchange begins with 0 or 1. */
export function isPhone(text: string): boolean {
  const digits = digitsOf(text);
  if (text.startsWith('+') && !digits.startsWith('1')) return digits.length >= 8 && digits.length <= 15;
  return /^1?[2-9]\d{2}[2-9]\d{6}$/.test(digits);
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
/** Year, month and day; or two numbers and a year, of which the first is the month where both may be. */
const writtenDates: readonly (readonly [RegExp, (parts: string[]) => [string, string, string]])[] = [
  [/^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?$/, ([y, m, d]) => [y ?? '', m ?? '', d ?? '']],
  [/^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?:[T ].*)?$/, ([m, d, y]) => [y ?? '', m ?? '', d ?? '']],
  [/^(\d{4})(\d{2})(\d{2})$/, ([y, m, d]) => [y ?? '', m ?? '', d ?? '']],
  [/^([a-z]{3})[a-z]*\.? (\d{1,2}),? (\d{4})$/i, ([m, d, y]) => [y ?? '', monthOf(m), d ?? '']],
  [/^(\d{1,2}) ([a-z]{3})[a-z]*\.? (\d{4})$/i, ([d, m, y]) => [y ?? '', monthOf(m), d ?? '']],
];
const monthOf = (name = ''): string => String(months.indexOf(name.toLowerCase()) + 1);

/** A day that there was, of somebody who may live or has lived lately: since 1900 and not to come. */
export function isBirthDate(text: string): boolean {
  for (const [pattern, order] of writtenDates) {
    const found = pattern.exec(text);
    if (!found) continue;
    const [year, month, day] = order(found.slice(1)).map(Number) as [number, number, number];
    return isDay(year, month, day) || (month > 12 && isDay(year, day, month));
  }
  return false;
}

function isDay(year: number, month: number, day: number): boolean {
  const date = new Date(Date.UTC(year, month - 1, day));
  const there = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  return there && year >= 1900 && date.getTime() <= Date.now();
}
