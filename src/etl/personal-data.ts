/**
 * Recognises personal data by how values are written. A light detector: patterns, check digits and the ranges that the issuers
 * publish, with the column's name as a hint where a form alone says too little. It tells what to look at, and proves nothing
 * absent.
 *
 * Narrower than what masks texts (personal-data/patterns.ts): a column of numbers that only look like it would drown a dry run's
 * report, while a mask that lets one through is a leak.
 */
import { hasCheckDigit } from '../personal-data/patterns.ts';

export const personalDataKinds = ['SSN', 'EIN', 'PAYMENT_CARD', 'PHONE', 'EMAIL', 'DATE_OF_BIRTH'] as const;
export type PersonalDataKind = (typeof personalDataKinds)[number];

/** Recognises one kind in one value. */
export interface PersonalDataDetector {
  kind: PersonalDataKind;
  /** @param column the column's name, in lower case */
  matches(value: string, column: string): boolean;
}

export interface PersonalDataFinding {
  kind: PersonalDataKind;
  /** Values that look like it, of those that were checked. */
  matches: number;
  checked: number;
}

/** Social Security: area 000, 666 and 9xx, group 00 and serial 0000 are never issued (SSA, since the 2011 randomisation). */
const ssn = /(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])/;
const ssnDigits = /^(?!000|666|9)\d{3}(?!00)\d{2}(?!0000)\d{4}$/;

/** Employer Identification Number: the prefixes that the IRS assigns. */
const ein = /(?<![\d-])(?:0[1-6]|1[0-6]|2[0-7]|3\d|4[0-8]|5\d|6[0-8]|7[1-7]|8[0-8]|9[0-589])-\d{7}(?![\d-])/;
const einDigits = /^(?:0[1-6]|1[0-6]|2[0-7]|3\d|4[0-8]|5\d|6[0-8]|7[1-7]|8[0-8]|9[0-589])\d{7}$/;

/** 13 to 19 digits, alone or in groups, of the issuers that there are (ISO/IEC 7812). */
const card = /(?<![\d.-])(?:3[0-9]|4\d|5[1-5]|2[2-7]|6\d)\d{2}(?:[ -]?\d{2,6}){2,4}(?![\d.-])/g;

/** North American numbering plan: neither area code nor exchange begins with 0 or 1. */
const phone = /(?<![\d.-])(?:\+?1[ .-]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}(?![\d.-])/;
const phoneDigits = /^(?:\+?1)?[2-9]\d{2}[2-9]\d{6}$/;
const internationalPhone = /(?<![\w+])\+(?!1)[1-9]\d{0,2}[ .-]?(?:\d[ .-]?){6,12}\d(?!\d)/;

const email = /(?<![\w.+-])[\w.+-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}(?![\w-])/i;

const writtenDate = /^(?:(\d{4})[-/](\d{1,2})[-/](\d{1,2})|(\d{1,2})[-/](\d{1,2})[-/](\d{4}))(?:[T ].*)?$/;

const named = (...words: string[]): RegExp => new RegExp(`(?:^|[_.-])(?:${words.join('|')})(?:[_.-]|$)`);
const hints = {
  ssn: named('ssn', 'ss_?n', 'social_security(?:_(?:no|number))?', 'socialsecurity(?:number)?'),
  ein: named('ein', 'fein', 'tax_?id', 'employer_id(?:entification)?(?:_number)?'),
  phone: named('phone', 'telephone', 'tel', 'mobile', 'cell', 'fax', 'phone_?(?:no|number)'),
  birth: named('dob', 'birth', 'born', 'birth_?date', 'birth_?day', 'date_?of_?birth'),
};

export const personalDataDetectors: readonly PersonalDataDetector[] = [
  { kind: 'SSN', matches: (value, column) => ssn.test(value) || (hints.ssn.test(column) && ssnDigits.test(value)) },
  { kind: 'EIN', matches: (value, column) => ein.test(value) || (hints.ein.test(column) && einDigits.test(value)) },
  { kind: 'PAYMENT_CARD', matches: (value) => (value.match(card) ?? []).some(passesLuhn) },
  {
    kind: 'PHONE',
    matches: (value, column) =>
      phone.test(value) || internationalPhone.test(value) || (hints.phone.test(column) && phoneDigits.test(value)),
  },
  { kind: 'EMAIL', matches: (value) => email.test(value) },
  { kind: 'DATE_OF_BIRTH', matches: (value, column) => hints.birth.test(column) && isBirthDate(value) },
];

/** Values longer than this are looked at up to here: a detector is no reader of documents. */
const valueLengthMax = 4_096;

/**
 * Which kinds a column's values look like, the commonest first.
 *
 * @param values as text; nulls are not checked
 * @param detectors more of them may be given, such as one that knows names
 */
export function detectPersonalData(
  column: string,
  values: readonly (string | null)[],
  detectors: readonly PersonalDataDetector[] = personalDataDetectors,
): PersonalDataFinding[] {
  const name = column.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toLowerCase();
  const texts = values.filter((value) => value !== null).map((value) => value.slice(0, valueLengthMax).trim());
  return detectors
    .map(({ kind, matches }) => ({
      kind,
      matches: texts.filter((text) => matches(text, name)).length,
      checked: texts.length,
    }))
    .filter((finding) => finding.matches > 0)
    .sort((a, b) => b.matches - a.matches);
}

/** ISO/IEC 7812-1, annex B. All digits equal would pass for zeros; nobody issues such a number. */
export function passesLuhn(text: string): boolean {
  const digits = text.replaceAll(/\D/g, '');
  return digits.length >= 13 && digits.length <= 19 && new Set(digits).size > 1 && hasCheckDigit(digits);
}

function isBirthDate(text: string): boolean {
  const parts = writtenDate.exec(text);
  if (!parts) return false;
  const [, y1, m1, d1, m2, d2, y2] = parts.map((part) => (part === undefined ? undefined : Number(part)));
  const [year, month, day] = [y1 ?? y2 ?? 0, m1 ?? m2 ?? 0, d1 ?? d2 ?? 0];
  const date = new Date(Date.UTC(year, month - 1, day));
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day && year >= 1900 && date.getTime() <= Date.now();
}
