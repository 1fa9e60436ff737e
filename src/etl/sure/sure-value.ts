import type { ContractKeywords } from '../../contracts/contract.ts';
import type { OutputType } from '../engine-types.ts';
import type { ContractField } from '../ingest/contract-model.ts';
import { isTimeFormat } from '../ingest/lexical.ts';
import { ByteAutomaton, literalPiece } from './byte-automaton.ts';
import { dayNumber, microsecondOfDay } from './calendar.ts';
import { patternAutomaton } from './pattern-automaton.ts';
import { anyText, statesOf, StateWalk, type TextStates } from './text-states.ts';

/**
 * The number that the text at `bytes[start, end)` stands for (of a date: days since 2000-01-01), and 0 where it stands for none. NaN: it does
 * not surely meet its field's rules, which leaves the verdict to SQL or to Ajv; any other answer is a promise.
 */
export type SureRead = (bytes: Uint8Array, start: number, end: number) => number;

/** What is asked of a field's text: that its bytes lead through the states, and what reads it. */
export interface SureValue {
  /** Of the column that takes it. */
  type: SureType;
  states: TextStates;
  /** null: nothing more is asked, and it stands for no number. */
  read: SureRead | null;
  /** Quotes within the text may be written twice: what is asked of it stays what it is. */
  mayDouble: boolean;
}

export type SureType = Exclude<OutputType, 'numeric' | 'jsonb'>;

/** Keywords that check nothing. */
export const annotations = new Set(['$comment', 'title', 'description', 'examples', 'deprecated', 'default']);
const known = new Set([
  ...['type', 'enum', 'const', 'format', 'minLength', 'maxLength', 'pattern'],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
]);

/** @returns null: the field has a rule, or a kind of value, that nothing here can be sure of */
export function sureValue({ kind, keywords }: Pick<ContractField, 'kind' | 'keywords'>): SureValue | null {
  if (Object.keys(keywords).some((keyword) => !known.has(keyword) && !annotations.has(keyword))) return null;
  if (allowsOnlyNull(keywords)) return null;
  if (kind === 'boolean')
    return choicesOf(keywords) === null ? { type: 'boolean', states: booleans, read: null, mayDouble: false } : null;
  if (kind === 'integer' || kind === 'number') {
    const read = numberRead(kind, keywords);
    const type = kind === 'integer' ? 'bigint' : 'double precision';
    return read && { type, states: anyText(0), read, mayDouble: false };
  }
  return kind === 'string' ? stringValue(keywords) : null;
}

/** Whether the type says that nothing may be there. */
export function allowsOnlyNull({ type = [] }: ContractKeywords): boolean {
  const types = [type].flat();
  return types.length > 0 && types.every((each) => each === 'null');
}

/** The values of `enum` and `const` that a text can be; null: there is no such rule. */
function choicesOf(keywords: ContractKeywords): unknown[] | null {
  const constant = 'const' in keywords ? [keywords.const] : null;
  const choices = keywords.enum ?? constant;
  if (choices === null) return null;
  const both = keywords.enum && constant ? choices.filter((each) => constant.includes(each)) : choices;
  return both.filter((each) => each !== null);
}

const booleans = statesOf(patternAutomaton('^(?:true|false)$') as ByteAutomaton);
/** Characters are counted by states up to here. */
const countedMax = 64;

function stringValue(keywords: ContractKeywords): SureValue | null {
  const { format, pattern, minLength = 0, maxLength = Infinity } = keywords;
  const walks: TextStates[] = [];
  const reads: SureRead[] = [];
  if (format !== undefined) {
    if (!isTimeFormat(format)) return null;
    reads.push(times[format].read);
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
  const free = walks.length === 0 && reads.length === 0 && minLength === 0;
  if (minLength > countedMax) reads.push((_bytes, start, end) => promised((end - start) / 4 >= minLength));
  else if (minLength > 0) walks.push(anyText(minLength));
  // A character takes one to four bytes.
  if (maxLength !== Infinity) reads.push((_bytes, start, end) => promised(end - start <= maxLength));
  const [states = anyText(0), ...others] = walks;
  reads.push(...others.map(walkRead));
  return { type: format ? times[format].type : 'text', states, read: together(reads), mayDouble: free };
}

const promised = (isSure: boolean): number => (isSure ? 0 : NaN);

/** All of them; the number is the first one's. null: there are none. */
function together([first, ...others]: readonly SureRead[]): SureRead | null {
  if (first === undefined) return null;
  const rest = together(others);
  if (rest === null) return first;
  return (bytes, start, end) => {
    const value = first(bytes, start, end);
    return Number.isNaN(rest(bytes, start, end)) ? NaN : value;
  };
}

/** All that is asked of a text that is valid UTF-8, in one call. */
export function sureRead({ states, read }: SureValue): SureRead {
  if (states === anyText(0)) return read ?? (() => 0);
  const walk = walkRead(states);
  return together(read === null ? [walk] : [read, walk]) as SureRead;
}

function walkRead(states: TextStates): SureRead {
  const walk = new StateWalk(states);
  return (bytes, start, end) => promised(walk.accepts(bytes, start, end));
}

function choiceAutomaton(choices: readonly unknown[]): ByteAutomaton | null {
  if (choices.some((each) => typeof each !== 'string')) return null;
  const pieces = (choices as string[]).flatMap((text) => literalPiece(text) ?? []);
  return ByteAutomaton.of(pieces.map((piece) => ({ piece, atStart: true, atEnd: true })));
}

/** With so many digits a number is the same to a double, to DuckDB and to Postgres. */
const digitCountMax = 15;

function numberRead(kind: 'integer' | 'number', keywords: ContractKeywords): SureRead | null {
  const rule = numberRule(kind, keywords);
  if (rule === null) return null;
  const { least, most, others } = rule;
  const fractions = kind === 'number';
  return (bytes, start, end) => {
    const value = plainNumber(bytes, start, end, fractions);
    return value >= least && value <= most && (others === null || others(value)) ? value : NaN;
  };
}

/** Of numbers that surely meet their field's rules: between which they lie, neither NaN nor infinite, and what else holds of them. */
export interface NumberRule {
  least: number;
  most: number;
  /** null: nothing. */
  others: ((value: number) => boolean) | null;
}

/** Every number that is one. */
export const anyNumber: NumberRule = { least: -Number.MAX_VALUE, most: Number.MAX_VALUE, others: null };

/** @returns null: there is a rule that nothing here can be sure of */
export function numberRule(kind: 'integer' | 'number', keywords: ContractKeywords): NumberRule | null {
  const { minimum = anyNumber.least, maximum = anyNumber.most, multipleOf } = keywords;
  const { exclusiveMinimum: above = -Infinity, exclusiveMaximum: below = Infinity } = keywords;
  if (multipleOf !== undefined && !(kind === 'integer' && Number.isSafeInteger(multipleOf))) return null;
  const choices = choicesOf(keywords);
  if (choices?.some((each) => typeof each !== 'number' || (kind === 'integer' && !Number.isSafeInteger(each))))
    return null;
  const chosen = choices && new Set(choices);
  const within = { least: minimum, most: maximum };
  if (above === -Infinity && below === Infinity && multipleOf === undefined && chosen === null)
    return { ...within, others: null };
  const others = (value: number): boolean =>
    value > above &&
    value < below &&
    (multipleOf === undefined || value % multipleOf === 0) &&
    (chosen === null || chosen.has(value));
  return { ...within, others };
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

const letterT = 84;
const letterZ = 90;

/** Moments are too large for a number; who writes them reads them again. */
const times = {
  date: {
    type: 'date',
    read: (bytes, start, end) => (end - start === 10 ? dayNumber(bytes, start) : NaN),
  },
  'local-date-time': { type: 'timestamp', read: (bytes, start, end) => promised(isMoment(bytes, start, end)) },
  'date-time': {
    type: 'timestamptz',
    read: (bytes, start, end) => promised(bytes[end - 1] === letterZ && isMoment(bytes, start, end - 1)),
  },
} satisfies Record<string, { type: SureType; read: SureRead }>;

function isMoment(bytes: Uint8Array, start: number, end: number): boolean {
  if (bytes[start + 10] !== letterT) return false;
  return !Number.isNaN(dayNumber(bytes, start) + microsecondOfDay(bytes, start + 11, end));
}
