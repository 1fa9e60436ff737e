import { shorten } from '../../contracts/issues.ts';
import { literal, numberLiteral } from '../duckdb/sql-text.ts';
import type { ContractField } from './contract-model.ts';
import { toRe2 } from './ecma-pattern.ts';
import { isTimeFormat } from './lexical.ts';

/** One rule of one field. */
export interface SqlRule {
  keyword: string;
  /** True where the rule is broken; null or false where it holds. */
  broken: string;
  /** Completes "must be …". */
  expected: string;
}

/** The rules that SQL checks, and the keywords for which Ajv must see the record. */
export interface FieldRules {
  rules: SqlRule[];
  unchecked: string[];
}

/**
 * Compiles the keywords of a field whose value is of the right type already (or null, which breaks nothing here).
 * A keyword about another type than the field's has no effect, as JSON Schema says.
 *
 * @param value expression for the value: bigint, double, boolean or text
 */
export function compileField(field: ContractField, value: string): FieldRules {
  const rules: SqlRule[] = [];
  const unchecked: string[] = [];
  const numeric = field.kind === 'integer' || field.kind === 'number';
  const text = field.kind === 'string';
  const { keywords } = field;

  const bound = (
    keyword: 'minimum' | 'maximum' | 'exclusiveMinimum' | 'exclusiveMaximum',
    operator: string,
    words: string,
  ): void => {
    const limit = keywords[keyword];
    if (limit === undefined || !numeric) return;
    rules.push({
      keyword,
      broken: `not (${value} ${operator} ${boundLiteral(limit, field, operator)})`,
      expected: `${words} ${limit}`,
    });
  };
  bound('minimum', '>=', 'at least');
  bound('maximum', '<=', 'at most');
  bound('exclusiveMinimum', '>', 'more than');
  bound('exclusiveMaximum', '<', 'less than');

  const { multipleOf } = keywords;
  if (multipleOf !== undefined && numeric) {
    if (field.kind === 'integer' && Number.isSafeInteger(multipleOf)) {
      rules.push({
        keyword: 'multipleOf',
        broken: `${value} % ${numberLiteral(multipleOf)} <> 0`,
        expected: `a multiple of ${multipleOf}`,
      });
    } else unchecked.push('multipleOf');
  }
  if (text) unchecked.push(...compileText(field, value, rules));
  unchecked.push(...compileChoice(field, value, rules));
  if (field.kind === 'json') unchecked.push('type');
  const types = [keywords.type ?? []].flat();
  if (types.length > 0 && types.every((type) => type === 'null'))
    rules.push({ keyword: 'type', broken: `${value} is not null`, expected: 'null' });
  return { rules, unchecked };
}

/** An integer against a fraction is compared as an integer, so that no value is rounded to a double first. */
function boundLiteral(limit: number, field: ContractField, operator: string): string {
  if (field.kind !== 'integer' || Number.isSafeInteger(limit)) return numberLiteral(limit);
  // No integer of 64 bits lies beyond 2^64, so that every further bound is like that one.
  if (Math.abs(limit) >= 2 ** 53) return `${BigInt(Math.sign(limit) * Math.min(Math.abs(limit), 2 ** 64))}::hugeint`;
  // v >= 0.5 is v >= 1, v > 0.5 is v > 0, and so on.
  const towards = operator === '>=' || operator === '<' ? Math.ceil(limit) : Math.floor(limit);
  return numberLiteral(towards);
}

/** @returns the keywords that SQL cannot check */
function compileText(field: ContractField, value: string, rules: SqlRule[]): string[] {
  const { minLength, maxLength, pattern, format } = field.keywords;
  const unchecked: string[] = [];
  if (minLength !== undefined) {
    rules.push({
      keyword: 'minLength',
      broken: `length(${value}) < ${minLength}`,
      expected: `at least ${minLength} characters long`,
    });
  }
  if (maxLength !== undefined) {
    rules.push({
      keyword: 'maxLength',
      broken: `length(${value}) > ${maxLength}`,
      expected: `at most ${maxLength} characters long`,
    });
  }
  if (pattern !== undefined) {
    const re2 = toRe2(pattern);
    if (re2 === null) unchecked.push('pattern');
    else
      rules.push({
        keyword: 'pattern',
        broken: `not regexp_matches(${value}, ${literal(re2)})`,
        expected: `written like ${pattern}`,
      });
  }
  // The formats of time are checked where the text is read as its type.
  if (format !== undefined && !isTimeFormat(format)) unchecked.push('format');
  return unchecked;
}

/** @returns the keywords that SQL cannot check */
function compileChoice(field: ContractField, value: string, rules: SqlRule[]): string[] {
  const { keywords } = field;
  const unchecked: string[] = [];
  const choose = (keyword: 'enum' | 'const', values: readonly unknown[]): void => {
    const literals = values.filter((each) => each !== null).map((each) => choiceLiteral(field, each));
    if (literals.some((each) => each === null)) {
      unchecked.push(keyword);
      return;
    }
    const broken = literals.length === 0 ? `${value} is not null` : `${value} not in (${literals.join(', ')})`;
    const words = values.map((each) => JSON.stringify(each)).join(', ');
    rules.push({ keyword, broken, expected: keyword === 'enum' ? `one of ${words}` : words });
  };
  if (keywords.enum !== undefined) choose('enum', keywords.enum);
  if ('const' in keywords) choose('const', [keywords.const]);
  return unchecked;
}

/** A choice of another type than the field's can never be met, but Ajv may say so. */
function choiceLiteral(field: ContractField, choice: unknown): string | null {
  if (typeof choice === 'string' && field.kind === 'string') {
    return choice.includes('\0') ? null : literal(choice);
  }
  if (typeof choice === 'boolean' && field.kind === 'boolean') return String(choice);
  if (typeof choice !== 'number') return null;
  if (field.kind === 'number') return numberLiteral(choice);
  return field.kind === 'integer' && Number.isSafeInteger(choice) ? numberLiteral(choice) : null;
}

/** What a person reads about a broken rule. */
export function ruleMessage(rule: SqlRule, found: string | null, quoted: boolean): string {
  if (rule.keyword === 'required') return 'is required';
  const shown = found === null ? '' : `, found ${quoted ? shorten(found) : shortenPlain(found)}`;
  return `must be ${rule.expected}${shown}`;
}

function shortenPlain(found: string): string {
  return found.length <= 60 ? found : `${found.slice(0, 60)}… (${found.length} characters)`;
}
