/**
 * Personal data is masked before it is stored or sent: a mask says what stood there and nothing of its value (`[ssn]`). The last four
 * digits, which are often left, identify a person together with a name, and are personal data themselves.
 */
import { kindOfField, patterns, type PersonalKind } from './patterns.ts';

/** Nothing that a pattern could find is without one of these. */
const worthLooking = /[@\d]/;

export interface MaskOptions {
  /** Texts that are left as they are: who acts is named in its own records. */
  known?: readonly string[];
}

/** A text with every piece of personal data in it masked. Masking a masked text changes nothing. */
export function maskText(text: string, { known = [] }: MaskOptions = {}): string {
  let result = text;
  if (!worthLooking.test(text)) return result;
  for (const { worth, all, kindOf } of patterns) {
    if (!worth.test(result)) continue;
    result = result.replaceAll(all, (match: string, ...rest: unknown[]) => {
      const kind = kindOf(match, rest.at(-1) as Record<string, string | undefined>);
      return kind === null || known.includes(match) ? match : `[${kind}]`;
    });
  }
  return result;
}

/** The first kind of personal data in a text; null when there is none. */
export function findPersonalData(text: string): PersonalKind | null {
  if (!worthLooking.test(text)) return null;
  for (const { worth, all, kindOf } of patterns) {
    if (!worth.test(text)) continue;
    for (const { 0: match, groups = {} } of text.matchAll(all)) {
      const kind = kindOf(match, groups);
      if (kind !== null) return kind;
    }
  }
  return null;
}

/**
 * JSON with its texts masked, names of properties included, and with what a property's name says is personal masked whole.
 * What is no JSON (dates, errors, buffers) stays as it is.
 */
export function maskValue<T>(value: T, options: MaskOptions = {}): T {
  return masked(value, options) as T;
}

/**
 * Whether JSON is surely left as it is by `maskValue`, and its text by `maskText`: one look at the whole, where they look at each part.
 *
 * @param text the value's, by JSON.stringify
 */
export function isLeftAlone(value: unknown, text: string): boolean {
  // A text in the value stands in this one as it is unless something of it is escaped, and what a pattern needs is then in both.
  return !text.includes('\\') && patterns.every(({ worth }) => !worth.test(text)) && !namesPersonalField(value);
}

function namesPersonalField(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(namesPersonalField);
  const fields = value as Record<string, unknown>;
  return Object.keys(fields).some((name) => kindOfField(name) !== null || namesPersonalField(fields[name]));
}

function masked(value: unknown, options: MaskOptions): unknown {
  if (typeof value === 'string') return maskText(value, options);
  if (Array.isArray(value)) return value.map((item) => masked(item, options));
  if (!isPlain(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [maskText(name, options), maskedField(name, item, options)]),
  );
}

function maskedField(name: string, item: unknown, options: MaskOptions): unknown {
  const kind = kindOfField(name);
  if (kind === null || item === null || item === undefined) return masked(item, options);
  if (typeof item === 'object' || typeof item === 'boolean') return masked(item, options);
  return `[${kind}]`;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Where in a JSON document personal data stand, as JSON Pointers (RFC 6901) with their kind, in the document's order. */
export function findInDocument(value: unknown, path = ''): { path: string; kind: PersonalKind }[] {
  if (typeof value === 'string') {
    const kind = findPersonalData(value);
    return kind === null ? [] : [{ path, kind }];
  }
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, item]) => {
    const kind = Array.isArray(value) ? null : findPersonalData(name);
    const step = `${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    return [...(kind === null ? [] : [{ path, kind }]), ...findInDocument(item, step)];
  });
}
