import type { ContractKeywords, ContractSchema } from '../../contracts/contract.ts';
import type { ContractField } from './contract-model.ts';
import { isTimeFormat } from './lexical.ts';

/** What a text of the source stands for, by the contract; formats whose values are all text are read with it. */
export type Expected =
  | { is: 'text' }
  | { is: 'integer' | 'number' | 'boolean' | 'time'; nullAllowed: boolean }
  | { is: 'array'; items: Expected }
  | { is: 'object'; members: ReadonlyMap<string, Expected> };

const text: Expected = { is: 'text' };

/** What a record's parts stand for. Where the contract leaves it open, or names several types, a text stays one. */
export function expectedRecord(fields: readonly ContractField[]): Expected {
  const members = new Map<string, Expected>();
  for (const { path, kind, nullAllowed, keywords } of fields) {
    let at = members;
    for (const name of path.slice(0, -1)) {
      const inner = at.get(name);
      const made = inner?.is === 'object' ? (inner.members as Map<string, Expected>) : new Map<string, Expected>();
      if (inner?.is !== 'object') at.set(name, { is: 'object', members: made });
      at = made;
    }
    const leaf = path.at(-1);
    if (leaf === undefined) continue;
    if (kind === 'json') at.set(leaf, expectedOf(keywords));
    else at.set(leaf, scalar(kind, keywords, nullAllowed));
  }
  return { is: 'object', members };
}

function scalar(kind: string, keywords: ContractKeywords, nullAllowed: boolean): Expected {
  if (kind === 'integer' || kind === 'number' || kind === 'boolean') return { is: kind, nullAllowed };
  return kind === 'string' && isTimeFormat(keywords.format) ? { is: 'time', nullAllowed } : text;
}

/** A schema below a leaf; references are not followed there, so that what they lead to is read as text. */
function expectedOf(schema: ContractSchema | undefined): Expected {
  if (typeof schema !== 'object') return text;
  const types = [schema.type ?? []].flat();
  const nullAllowed = types.includes('null');
  const [type, ...others] = types.filter((each) => each !== 'null');
  if (type === undefined || others.length > 0) return text;
  if (type === 'array') return { is: 'array', items: expectedOf(schema.items) };
  if (type !== 'object') return scalar(type, schema, nullAllowed);
  const members = Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, expectedOf(inner)] as const);
  return { is: 'object', members: new Map(members) };
}

/**
 * A text as JSON sees it: a number or a boolean where the contract expects one and the text is written as one (as in CSV), and else
 * the text, for Ajv to refuse. Blanks around anything but text are none of it.
 *
 * @returns undefined: nothing is there
 */
export function readText(found: string, expected: Expected): unknown {
  if (expected.is === 'text' || expected.is === 'array' || expected.is === 'object') return found;
  const trimmed = found.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
  if (trimmed === '') return expected.nullAllowed ? null : undefined;
  if (expected.is === 'boolean') {
    if (/^(?:true|TRUE|True)$/.test(trimmed)) return true;
    return /^(?:false|FALSE|False)$/.test(trimmed) ? false : trimmed;
  }
  if (expected.is === 'time') return trimmed;
  const pattern = expected.is === 'integer' ? /^[+-]?\d+(?:\.0+)?$/ : /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
  return pattern.test(trimmed) ? jsonNumber(trimmed) : trimmed;
}

/** The same number as JSON writes it, with every digit. */
export function jsonNumber(written: string): unknown {
  const [, sign = '', whole = '', fraction = '', exponent = ''] =
    /^([+-]?)(\d*)(?:\.(\d*))?((?:[eE][+-]?\d+)?)$/.exec(written) ?? [];
  const digits = whole.replace(/^0+(?=\d)/, '') || '0';
  return JSON.rawJSON(`${sign === '-' ? '-' : ''}${digits}${fraction === '' ? '' : `.${fraction}`}${exponent}`);
}
