/**
 * Recognises personal data in the columns of a sample. A light detector: the patterns that masks use (patterns.ts), with the ranges that
 * the issuers publish, the column's name as a hint where a form alone says too little, and names by how words are used (names.ts). It tells
 * what to look at, and proves nothing absent.
 */
import { columnRules, kindOfField, patterns, type FieldKind, type PersonalKind } from './patterns.ts';

/** Each kind as a report calls it. */
const reported = {
  ssn: 'SSN',
  ein: 'EIN',
  card: 'PAYMENT_CARD',
  'routing number': 'ROUTING_NUMBER',
  npi: 'NPI',
  phone: 'PHONE',
  email: 'EMAIL',
  'date of birth': 'DATE_OF_BIRTH',
  name: 'NAME',
  document: 'IDENTITY_DOCUMENT',
} as const satisfies Record<FieldKind, string>;
export type PersonalDataKind = (typeof reported)[FieldKind];

export interface PersonalDataFinding {
  kind: PersonalDataKind;
  /** Values that look like it, of those that were checked. */
  matches: number;
  checked: number;
}

/** Says of each text whether it holds a person's name. */
export type NameFinder = (texts: readonly string[]) => boolean[];

/** Values longer than this are looked at up to here: a detector is no reader of documents. */
const valueLengthMax = 4_096;
/** Of one column: the NLP library takes milliseconds a text. */
const textsForNames = 100;
/** Of places and companies that are hard to tell one in ten passes for a person (test/unit/personal-data-corpus.test.ts), of a column of people nearly all do. */
const nameShareMin = 0.15;

/** So many distinct numbers with the right check digit are no accident, whatever their column is called. */
const numbersToTell = 20;
const shareToTell = 0.95;
/** Of so many with the form of a card, a tenth has the check digit by chance. */
const cardsToTell = 10;
const cardShareMin = 0.3;

/**
 * Which kinds a column's values look like, the commonest first.
 *
 * @param values as text; nulls are not checked
 */
export function detectPersonalData(
  column: string,
  values: readonly (string | null)[],
  findNames?: NameFinder,
): PersonalDataFinding[] {
  const texts = values.filter((value) => value !== null).map((value) => value.slice(0, valueLengthMax).trim());
  const hint = kindOfField(column);
  const counts = new Map<FieldKind, number>();
  const add = (kind: FieldKind): void => void counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const cards = { form: new Set<string>(), issued: new Set<string>() };
  for (const text of texts) for (const kind of kindsOf(text, column, cards)) add(kind);
  if (hint !== 'card' && cards.form.size >= cardsToTell && cards.issued.size < cardShareMin * cards.form.size)
    counts.delete('card');
  if (hint === null) for (const kind of ['routing number', 'npi'] as const) tellByCheckDigit(kind, texts, counts);
  const found = [...counts].map(([kind, matches]) => ({ kind: reported[kind], matches, checked: texts.length }));
  if (findNames && hint === null && counts.size === 0) found.push(...namesOf(texts, findNames));
  return found.sort((one, other) => other.matches - one.matches);
}

function kindsOf(text: string, column: string, cards: Record<'form' | 'issued', Set<string>>): Set<FieldKind> {
  const found = new Set<FieldKind>();
  for (const { worth, all, formOf, kindOf } of patterns) {
    if (!worth.test(text)) continue;
    for (const { 0: match, groups = {} } of text.matchAll(all)) {
      if (formOf(groups) === 'card') cards.form.add(match);
      const kind = kindOf(match, groups);
      if (kind === null || columnRules[kind].issued?.(match) === false) continue;
      if (kind === 'card') cards.issued.add(match);
      found.add(kind);
    }
  }
  for (const kind of hintedKinds(column)) {
    if (kind === 'name' || kind === 'document' ? text !== '' : isBare(kind, text)) found.add(kind);
  }
  return found;
}

/** The number of a taxpayer is a person's or an employer's. */
function hintedKinds(column: string): FieldKind[] {
  const kind = kindOfField(column);
  if (kind === null) return [];
  return kind === 'ssn' && /tax|tin/i.test(column) ? ['ssn', 'ein'] : [kind];
}

function isBare(kind: PersonalKind, text: string): boolean {
  const { bare, issued, isBare: check } = columnRules[kind];
  return check ? check(text) : bare?.test(text) === true && issued?.(text) !== false;
}

function tellByCheckDigit(
  kind: 'routing number' | 'npi',
  texts: readonly string[],
  counts: Map<FieldKind, number>,
): void {
  const { bare } = columnRules[kind];
  const form = texts.filter((text) => bare?.test(text));
  const distinct = [...new Set(form)];
  if (distinct.length < numbersToTell || form.length < texts.length / 2) return;
  if (distinct.filter((text) => isBare(kind, text)).length < shareToTell * distinct.length) return;
  counts.set(kind, form.filter((text) => isBare(kind, text)).length);
}

/** Words that begin with a capital, or are written in capitals, two beside each other: nothing else is worth a library's look. */
const maybeName = /\p{Lu}[\p{L}'’.-]*,? +(?:\p{L}\.? +)?\p{Lu}[\p{L}'’-]/u;

function namesOf(texts: readonly string[], findNames: NameFinder): PersonalDataFinding[] {
  const distinct = [...new Set(texts)].filter((text) => text !== '');
  // All over the sample: people may stand at its end.
  const every = Math.max(1, distinct.length / textsForNames);
  const looked = distinct.filter((_text, at) => Math.floor(at / every) !== Math.floor((at - 1) / every));
  const worth = looked.filter((text) => maybeName.test(text)).map((text) => text.slice(0, 500));
  // Of a column of which nearly nothing could be one, the library is not asked.
  if (worth.length < nameShareMin * looked.length || worth.length === 0) return [];
  const matches = findNames(worth).filter(Boolean).length;
  return matches > 0 && matches >= nameShareMin * looked.length
    ? [{ kind: 'NAME', matches, checked: looked.length }]
    : [];
}
