import { canonicalText } from './canonical.ts';
import type { Contract, ContractKeywords, ContractSchema } from './contract.ts';
import { timePatterns } from './formats.ts';
import { inlined, noteKeywords } from './inline-references.ts';
import { pointerStep, shorten } from './issues.ts';

export const changeKinds = ['ADDED', 'REMOVED', 'CHANGED'] as const;

/** One thing that a version of a contract says otherwise than the one before. */
export interface ContractChange {
  /** JSON Pointer of the record's part that it is about; `*` stands for any name or place. */
  path: string;
  /** The keyword; `properties` where a property came or went. */
  keyword: string;
  kind: (typeof changeKinds)[number];
  /** A record that met the version before may not meet this one, or its column changes. */
  breaking: boolean;
  /** For people: what was, what is, and why it breaks. */
  message: string;
}

export interface ContractComparison {
  /** Every record that met the version before meets this one, and every column keeps its name and type. */
  compatible: boolean;
  /** In the order of the documents; none when they say the same. */
  changes: ContractChange[];
}

/**
 * What a version of a contract says otherwise than the one before. Sound, not complete: where two ways to say a thing cannot be
 * compared (a pattern for a pattern), the change counts as breaking.
 */
export function compareContracts(before: Contract, after: Contract): ContractComparison {
  const changes: ContractChange[] = [];
  compareSchemas(inlined(before), inlined(after), '', changes);
  return { compatible: changes.every(({ breaking }) => !breaking), changes };
}

const columnFormats = new Set<string>(Object.keys(timePatterns));

function compareSchemas(before: ContractSchema, after: ContractSchema, path: string, changes: ContractChange[]): void {
  if (same(before, after)) return;
  if (typeof before === 'boolean' || typeof after === 'boolean') {
    const breaking = after !== true && before !== false;
    changes.push(changed(path, 'schema', before, after, breaking));
    return;
  }
  const keywords = new Set([...Object.keys(before), ...Object.keys(after)]);
  for (const keyword of keywords) {
    const [was, is] = [valueOf(before, keyword), valueOf(after, keyword)];
    if (same(was, is)) continue;
    const nested = nestedComparisons[keyword];
    if (nested) nested(before, after, path, changes);
    else changes.push(changed(path, keyword, was, is, isBreaking(keyword, before, after)));
  }
}

type Compare = (before: ContractKeywords, after: ContractKeywords, path: string, changes: ContractChange[]) => void;

/** Keywords whose changes are told one by one. */
const nestedComparisons: Readonly<Record<string, Compare>> = {
  properties: compareProperties,
  required: (before, after, path, changes) => {
    const [was, is] = [before.required ?? [], after.required ?? []];
    for (const name of was.filter((each) => !is.includes(each))) {
      const message = `${name} is no longer required`;
      changes.push({ path: path + pointerStep(name), keyword: 'required', kind: 'REMOVED', breaking: false, message });
    }
    for (const name of is.filter((each) => !was.includes(each))) {
      const message = `${name} is required now, and records without it met the version before`;
      changes.push({ path: path + pointerStep(name), keyword: 'required', kind: 'ADDED', breaking: true, message });
    }
  },
  items: (before, after, path, changes) => {
    const [was = true, is = true] = [before.items, after.items];
    // Which elements it is about depends on those.
    if (same(before.prefixItems, after.prefixItems)) compareSchemas(was, is, `${path}/*`, changes);
    else changes.push(changed(path, 'items', before.items, after.items, true));
  },
};

function compareProperties(
  before: ContractKeywords,
  after: ContractKeywords,
  path: string,
  changes: ContractChange[],
): void {
  const [was, is] = [before.properties ?? {}, after.properties ?? {}];
  const closed = before.additionalProperties === false && before.patternProperties === undefined;
  for (const name of new Set([...Object.keys(was), ...Object.keys(is)])) {
    const place = path + pointerStep(name);
    const [one, other] = [own(was, name), own(is, name)];
    if (one !== undefined && other !== undefined) compareSchemas(one, other, place, changes);
    else if (one !== undefined) {
      const message = `${name} is gone, and its column with it; it was ${shorten(one)}`;
      changes.push({ path: place, keyword: 'properties', kind: 'REMOVED', breaking: true, message });
    } else {
      const why = closed ? '' : '; until now a record could hold anything under that name (additionalProperties)';
      const message = `${name} is new: ${shorten(other)}${why}`;
      changes.push({ path: place, keyword: 'properties', kind: 'ADDED', breaking: !closed, message });
    }
  }
}

/** Whether a record that met `before` may break `after` because of this keyword, or its column changes. The two differ. */
function isBreaking(keyword: string, before: ContractKeywords, after: ContractKeywords): boolean {
  if (noteKeywords.includes(keyword)) return false;
  const [was, is] = [valueOf(before, keyword), valueOf(after, keyword)];
  if (keyword === 'type') return changesType(before, after);
  if (keyword === 'format') return is !== undefined || columnFormats.has(String(was));
  if (keyword === 'enum' || keyword === 'const') return narrowsChoice(was, is, keyword) || changesType(before, after);
  const direction = limits[keyword];
  if (direction !== undefined) {
    if (is === undefined) return keyword === 'minContains' && after.contains !== undefined;
    return typeof was !== 'number' || (direction === 'lower' ? Number(is) > was : Number(is) < was);
  }
  if (keyword === 'multipleOf') return is !== undefined && !isMultiple(was, is);
  if (keyword === 'anyOf' && is !== undefined) return !includesAll(is, was);
  if (keyword === 'allOf' && is !== undefined) return !includesAll(was, is);
  if (keyword === 'uniqueItems') return is === true;
  if (keyword === 'additionalProperties') return is !== undefined && is !== true && was !== false;
  // What else is told of a record is decided by these.
  if (keyword === 'patternProperties' || keyword === 'prefixItems') return true;
  if (keyword === 'if' || keyword === 'else' || keyword === 'then')
    return after.if !== undefined && (after.then !== undefined || after.else !== undefined);
  return is !== undefined;
}

/** Where a greater number asks for more, it is a lower limit. */
const limits: Readonly<Record<string, 'lower' | 'upper'>> = {
  minimum: 'lower',
  exclusiveMinimum: 'lower',
  minLength: 'lower',
  minItems: 'lower',
  minProperties: 'lower',
  minContains: 'lower',
  maximum: 'upper',
  exclusiveMaximum: 'upper',
  maxLength: 'upper',
  maxItems: 'upper',
  maxProperties: 'upper',
  maxContains: 'upper',
};

/** Types apart from null make a column; a wider one is another column. Null may only come. */
function changesType(before: ContractKeywords, after: ContractKeywords): boolean {
  const [was, is] = [typesOf(before), typesOf(after)];
  const columns = (types: readonly string[]): string => types.filter((type) => type !== 'null').join();
  return columns(was) !== columns(is) || (was.includes('null') && is.length > 0 && !is.includes('null'));
}

function typesOf({ type, enum: choices, const: only }: ContractKeywords): string[] {
  const values = choices ?? (only === undefined ? [] : [only]);
  const types = type === undefined ? values.map(jsonType) : [type].flat();
  return [...new Set(types)].sort();
}

function jsonType(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

function narrowsChoice(was: unknown, is: unknown, keyword: string): boolean {
  if (is === undefined) return false;
  return keyword === 'const' || was === undefined || !includesAll(is, was);
}

function includesAll(all: unknown, some: unknown): boolean {
  if (!Array.isArray(all) || !Array.isArray(some)) return false;
  const texts = new Set(all.map(canonicalText));
  return some.every((each) => texts.has(canonicalText(each)));
}

function isMultiple(was: unknown, is: unknown): boolean {
  return Number.isSafeInteger(was) && Number.isSafeInteger(is) && Number(was) % Number(is) === 0;
}

function changed(path: string, keyword: string, was: unknown, is: unknown, breaking: boolean): ContractChange {
  if (is === undefined) return { path, keyword, kind: 'REMOVED', breaking, message: `was ${shorten(was)}` };
  if (was === undefined) return { path, keyword, kind: 'ADDED', breaking, message: `is ${shorten(is)} now` };
  return { path, keyword, kind: 'CHANGED', breaking, message: `was ${shorten(was)}, is ${shorten(is)} now` };
}

function valueOf(schema: ContractKeywords, keyword: string): unknown {
  return own(schema as Record<string, unknown>, keyword);
}

function own<T>(map: Record<string, T>, name: string): T | undefined {
  return Object.hasOwn(map, name) ? map[name] : undefined;
}

function same(one: unknown, other: unknown): boolean {
  if (one === undefined || other === undefined) return one === other;
  return canonicalText(one) === canonicalText(other);
}
