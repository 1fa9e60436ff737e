import type { ContractKeywords } from '../../contracts/contract.ts';
import type { ContractField } from '../ingest/contract-model.ts';
import { isTimeFormat } from '../ingest/lexical.ts';
import { ByteAutomaton, literalPiece } from './byte-automaton.ts';
import { patternAutomaton } from './pattern-automaton.ts';
import { anyText, statesOf, type TextStates } from './text-states.ts';

/**
 * Whether the text at `bytes[start, end)` surely meets its field's rules and is written as Postgres reads it. True is a promise; false is
 * none, and leaves the verdict to SQL or to Ajv.
 */
export type SureCheck = (bytes: Uint8Array, start: number, end: number) => boolean;

/** What is asked of a field's text: that its bytes lead through the states, and the check. */
export interface SureValue {
  states: TextStates;
  /** null: nothing more. */
  check: SureCheck | null;
  /** Quotes within the text may be written twice: what is asked of it stays what it is. */
  mayDouble: boolean;
}

const annotations = new Set(['$comment', 'title', 'description', 'examples', 'deprecated', 'default']);
const known = new Set([
  ...['type', 'enum', 'const', 'format', 'minLength', 'maxLength', 'pattern'],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
]);

/** @returns null: the field has a rule, or a kind of value, that nothing here can be sure of */
export function sureValue({ kind, keywords }: ContractField): SureValue | null {
  if (Object.keys(keywords).some((keyword) => !known.has(keyword) && !annotations.has(keyword))) return null;
  const types = [keywords.type ?? []].flat();
  if (types.length > 0 && types.every((type) => type === 'null')) return null;
  if (kind === 'boolean') return choicesOf(keywords) === null ? { ...anything, states: booleans } : null;
  if (kind === 'integer' || kind === 'number') {
    const check = numberCheck(kind, keywords);
    return check && { states: anyText(0), check, mayDouble: false };
  }
  return kind === 'string' ? stringValue(keywords) : null;
}

/** The values of `enum` and `const` that a text can be; null: there is no such rule. */
function choicesOf(keywords: ContractKeywords): unknown[] | null {
  const constant = 'const' in keywords ? [keywords.const] : null;
  const choices = keywords.enum ?? constant;
  if (choices === null) return null;
  const both = keywords.enum && constant ? choices.filter((each) => constant.includes(each)) : choices;
  return both.filter((each) => each !== null);
}

const anything: SureValue = { states: anyText(0), check: null, mayDouble: false };
const booleans = statesOf(patternAutomaton('^(?:true|false)$') as ByteAutomaton);
/** Characters are counted by states up to here. */
const countedMax = 64;

function stringValue(keywords: ContractKeywords): SureValue | null {
  const { format, pattern, minLength = 0, maxLength = Infinity } = keywords;
  const walks: TextStates[] = [];
  const checks: SureCheck[] = [];
  if (format !== undefined) {
    if (!isTimeFormat(format)) return null;
    checks.push(timeChecks[format]);
  }
  const choices = choicesOf(keywords);
  if (choices !== null) {
    const automaton = choiceAutomaton(choices);
    if (automaton === null) return null;
    walks.push(statesOf(automaton));
  }
  if (pattern !== undefined) {
    const automaton = patternAutomaton(pattern);
    if (automaton === null) return null;
    walks.push(statesOf(automaton));
  }
  const free = walks.length === 0 && checks.length === 0 && minLength === 0;
  if (minLength > countedMax) checks.push((_bytes, start, end) => (end - start) / 4 >= minLength);
  else if (minLength > 0) walks.push(anyText(minLength));
  // A character takes one to four bytes.
  if (maxLength !== Infinity) checks.push((_bytes, start, end) => end - start <= maxLength);
  const [states = anyText(0), ...others] = walks;
  checks.push(...others.map(walkCheck));
  return { states, check: together(checks), mayDouble: free };
}

function together(checks: readonly SureCheck[]): SureCheck | null {
  const [first = null, ...others] = checks;
  return others.length === 0 ? first : (bytes, start, end) => checks.every((check) => check(bytes, start, end));
}

/** All that is asked of a text that is valid UTF-8, in one call. */
export function sureCheck({ states, check }: SureValue): SureCheck {
  if (states === anyText(0)) return check ?? (() => true);
  const walk = walkCheck(states);
  return check === null ? walk : (bytes, start, end) => walk(bytes, start, end) && check(bytes, start, end);
}

function walkCheck({ count, start: first, step, accepts }: TextStates): SureCheck {
  const steps = Uint16Array.from({ length: count * 256 }, (_each, at) => step(at >> 8, at & 0xff));
  const accepting = Array.from({ length: count }, (_each, state) => accepts(state));
  return (bytes, start, end) => {
    let state = first;
    for (let at = start; at < end && state !== 0; at += 1)
      state = steps[(state << 8) | (bytes[at] as number)] as number;
    return accepting[state] === true;
  };
}

function choiceAutomaton(choices: readonly unknown[]): ByteAutomaton | null {
  if (choices.some((each) => typeof each !== 'string')) return null;
  const pieces = (choices as string[]).flatMap((text) => literalPiece(text) ?? []);
  return ByteAutomaton.of(pieces.map((piece) => ({ piece, atStart: true, atEnd: true })));
}

/** With so many digits a number is the same to a double, to DuckDB and to Postgres. */
const digitCountMax = 15;

function numberCheck(kind: 'integer' | 'number', keywords: ContractKeywords): SureCheck | null {
  const { minimum = -Infinity, maximum = Infinity, multipleOf } = keywords;
  const { exclusiveMinimum: above = -Infinity, exclusiveMaximum: below = Infinity } = keywords;
  if (multipleOf !== undefined && !(kind === 'integer' && Number.isSafeInteger(multipleOf))) return null;
  const choices = choicesOf(keywords);
  if (choices?.some((each) => typeof each !== 'number' || (kind === 'integer' && !Number.isSafeInteger(each))))
    return null;
  const chosen = choices && new Set(choices);
  const fractions = kind === 'number';
  return (bytes, start, end) => {
    const value = plainNumber(bytes, start, end, fractions);
    if (!(value >= minimum && value <= maximum && value > above && value < below)) return false;
    if (multipleOf !== undefined && value % multipleOf !== 0) return false;
    return chosen === null || chosen.has(value);
  };
}

/** The number that stands there without a sign but a minus, without needless zeros before it, and with few enough digits; else NaN. */
function plainNumber(bytes: Uint8Array, start: number, end: number, fractions: boolean): number {
  const negative = bytes[start] === 45;
  let at = negative ? start + 1 : start;
  if (end - at > digitCountMax + 1 || at >= end) return NaN;
  if (bytes[at] === 48 && end - at > 1 && bytes[at + 1] !== 46) return NaN;
  let digits = 0;
  let digitsAtPoint = -1;
  let mantissa = 0;
  for (; at < end; at += 1) {
    const byte = bytes[at] as number;
    if (byte >= 48 && byte <= 57) {
      mantissa = mantissa * 10 + byte - 48;
      digits += 1;
    } else if (byte === 46 && fractions && digitsAtPoint === -1 && digits > 0) digitsAtPoint = digits;
    else return NaN;
  }
  if (digits > digitCountMax || digits === digitsAtPoint || digits === 0) return NaN;
  if (negative && mantissa === 0) return NaN;
  // Of two numbers that a double holds exactly: rounded once, as every reader of decimals rounds.
  const value = digitsAtPoint === -1 ? mantissa : mantissa / (powersOfTen[digits - digitsAtPoint] as number);
  return negative ? -value : value;
}

const powersOfTen = Array.from({ length: digitCountMax + 1 }, (_each, power) => 10 ** power);

/** Both readers know these years without a doubt, whatever the offset. */
const [yearMin, yearMax] = [1000, 9998];

const timeChecks = {
  date: (bytes, start, end) => end - start === 10 && isDay(bytes, start),
  'local-date-time': (bytes, start, end) => isMoment(bytes, start, end),
  'date-time': (bytes, start, end) => bytes[end - 1] === 90 && isMoment(bytes, start, end - 1),
} satisfies Record<string, SureCheck>;

function isDay(bytes: Uint8Array, start: number): boolean {
  const century = twoDigits(bytes, start);
  const inCentury = twoDigits(bytes, start + 2);
  const month = twoDigits(bytes, start + 5);
  const day = twoDigits(bytes, start + 8);
  if (bytes[start + 4] !== 45 || bytes[start + 7] !== 45 || inCentury < 0) return false;
  const year = century * 100 + inCentury;
  if (year < yearMin || year > yearMax || month < 1 || month > 12 || day < 1) return false;
  if (month !== 2) return day <= (month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31);
  return day <= (year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28);
}

/** A day, `T`, and a time to the second, or to six digits of it. */
function isMoment(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start < 19 || !isDay(bytes, start)) return false;
  if (bytes[start + 10] !== 84 || bytes[start + 13] !== 58 || bytes[start + 16] !== 58) return false;
  const [hour, minute, second] = [
    twoDigits(bytes, start + 11),
    twoDigits(bytes, start + 14),
    twoDigits(bytes, start + 17),
  ];
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return false;
  if (end - start === 19) return true;
  if (bytes[start + 19] !== 46 || end - start < 21 || end - start > 26) return false;
  for (let at = start + 20; at < end; at += 1) if (digit(bytes, at) < 0) return false;
  return true;
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
