import { isUtf8 } from 'node:buffer';
import { shorten } from '../../contracts/issues.ts';
import type { Issue } from '../../errors.ts';
import type { ContractField } from './contract-model.ts';
import { jsonDepthMax } from './limits.ts';
import { countMembers, repeatedName } from './member-names.ts';

/** A record's leaves as text cells, in field order; null where there is none. */
export type Cells = (string | null)[];

/** Either the parsed record, or why it is none. */
export type ParsedRecord = { value: unknown; text: string } | { issue: Issue };

export function parseRecord(bytes: Buffer): ParsedRecord {
  const { depth, members } = outlineOf(bytes);
  if (!isUtf8(bytes)) return { issue: { path: '', rule: 'encoding', message: 'must be UTF-8, and holds other bytes' } };
  if (depth > jsonDepthMax) {
    return {
      issue: { path: '', rule: 'depth', message: `must nest at most ${jsonDepthMax} deep, and nests ${depth} deep` },
    };
  }
  const text = bytes.toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return { issue: { path: '', rule: 'parse', message: `must be JSON: ${(cause as Error).message}` } };
  }
  if (members === countMembers(value)) return { value, text };
  const name = shorten(repeatedName(text));
  return {
    issue: { path: '', rule: 'names', message: `must name each member of an object once, and has ${name} twice` },
  };
}

/** Containers within containers, in bytes that may be no JSON. */
export function depthOf(bytes: Buffer): number {
  return outlineOf(bytes).depth;
}

/** Its depth, and the members of all its objects, in one walk. */
function outlineOf(bytes: Buffer): { depth: number; members: number } {
  let depth = 0;
  let deepest = 0;
  let members = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (inString) {
      if (byte === 0x5c) at += 1;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x3a) members += 1;
    else if (byte === 0x5b || byte === 0x7b) {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (byte === 0x5d || byte === 0x7d) depth -= 1;
  }
  return { depth: deepest, members };
}

/** Numbers that a double may not hold as they are written, or that it would write otherwise. */
const mayLosePrecision = /\d{16}|\d[eE]|\d\.\d{15}/;

/**
 * Takes the leaves out of a record that the contract accepted. Numbers keep every digit of the source.
 *
 * @param leftOut pointers of the fields whose values are left out
 * @returns the cells, or why the dataset cannot hold them
 */
export function cellsOf(
  fields: readonly ContractField[],
  record: { value: unknown; text: string },
  leftOut: readonly string[] = [],
): { cells: Cells } | { issues: Issue[] } {
  const value = mayLosePrecision.test(record.text) ? parseExactly(record.text) : record.value;
  const cells: Cells = [];
  const issues: Issue[] = [];
  for (const field of fields) {
    const leaf = leftOut.includes(field.pointer) ? null : leafAt(value, field.path);
    const isJson = field.kind === 'json' || field.kind === 'any';
    const cell = isJson ? jsonCell(leaf) : scalarCell(leaf);
    const holds =
      cell === null || (isJson ? !unstorableInJson.test(cell) : cell.isWellFormed() && !cell.includes('\0'));
    if (!holds)
      issues.push({
        path: field.pointer,
        rule: 'encoding',
        message: 'must be text that Postgres can hold: no NUL, no half of a surrogate pair',
      });
    cells.push(cell);
  }
  return issues.length > 0 ? { issues } : { cells };
}

/** In what JSON.stringify writes: an escape of NUL or of half a pair, behind an even number of backslashes. */
const unstorableInJson = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][0-9a-f]{2})/;

function leafAt(value: unknown, path: readonly string[]): unknown {
  let at = value;
  for (const name of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return undefined;
    at = (at as Record<string, unknown>)[name];
  }
  return at;
}

function jsonCell(leaf: unknown): string | null {
  return leaf === undefined || leaf === null ? null : JSON.stringify(leaf);
}

function scalarCell(leaf: unknown): string | null {
  if (leaf === undefined || leaf === null) return null;
  if (typeof leaf === 'string') return leaf;
  if (JSON.isRawJSON(leaf)) return leaf.rawJSON;
  return typeof leaf === 'number' || typeof leaf === 'boolean' ? String(leaf) : JSON.stringify(leaf);
}

interface RawJson {
  readonly rawJSON: string;
}

/** JSON's own number texts (ECMAScript 2025, `JSON.rawJSON`), which TypeScript's library does not know yet. */
declare global {
  interface JSON {
    rawJSON(text: string): RawJson;
    isRawJSON(value: unknown): value is RawJson;
  }
}

function parseExactly(text: string): unknown {
  const reviver = (_key: string, value: unknown, context?: { source?: string }): unknown => {
    if (typeof value !== 'number' || context?.source === undefined) return value;
    return isExact(value, context.source) ? value : JSON.rawJSON(context.source);
  };
  return JSON.parse(text, reviver);
}

/** A double keeps any 15 digits, unless the exponent leads out of its range. */
function isExact(value: number, source: string): boolean {
  const digits = source.replace(/[eE].*/, '').replace(/\D/g, '').length;
  return digits <= 15 && Number.isFinite(value) && (value !== 0 || !/^-?[0.]*[1-9]/.test(source));
}
