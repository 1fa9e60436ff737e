import type { ContractKeywords, ContractSchema } from '../../contracts/contract.ts';
import { FluxError } from '../../errors.ts';
import { pointerStep } from '../../contracts/issues.ts';

/** What a field holds, null apart. `any`: the contract does not say; `json`: arrays, open objects, several types. */
export type FieldKind = 'integer' | 'number' | 'string' | 'boolean' | 'json' | 'any';

/** A leaf of the contract: one column of the dataset. */
export interface ContractField {
  /** Names from the record down. */
  path: readonly string[];
  /** JSON Pointer of the path. */
  pointer: string;
  kind: FieldKind;
  /** The value may be null. */
  nullAllowed: boolean;
  /** The value must be there, and so must everything above it. */
  required: boolean;
  /** The keywords, with a `$ref` followed. */
  keywords: ContractKeywords;
}

export interface ContractModel {
  fields: readonly ContractField[];
  /** Properties that the contract does not name may occur. */
  open: boolean;
  /** What SQL cannot check. Where there is any, each record that passed SQL goes to Ajv as a whole. */
  fallbacks: readonly Fallback[];
}

/** A keyword that only Ajv checks. */
export interface Fallback {
  /** JSON Pointer of the field, or of the object, that it is about; empty for the record. */
  pointer: string;
  keyword: string;
}

/** The model while it is made. */
interface Making {
  fields: ContractField[];
  fallbacks: Fallback[];
}

/** Keywords that check nothing. */
const annotations = new Set([
  '$schema',
  '$id',
  '$comment',
  '$defs',
  'title',
  'description',
  'examples',
  'deprecated',
  'default',
]);
/** Keywords that contract-sql.ts knows how to check; for which kinds, it says itself. */
export const sqlKeywords = new Set([
  'type',
  'enum',
  'const',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'minLength',
  'maxLength',
  'pattern',
  'format',
]);

/** Reads a contract that `validateContract` accepted into the columns that its records have. */
export function modelContract(contract: ContractSchema): ContractModel {
  const model: Making = { fields: [], fallbacks: [] };
  const root = follow(contract, contract, '', model);
  collect(contract, root, { path: [], pointer: '', required: true }, model);
  if (model.fields.length === 0) {
    throw new FluxError(
      'CONTRACT_INVALID',
      'The contract names no property, so its records have no columns. Name them in "properties".',
    );
  }
  return { ...model, open: root.additionalProperties !== false };
}

interface Place {
  path: readonly string[];
  pointer: string;
  required: boolean;
}

function collect(contract: ContractSchema, object: ContractKeywords, place: Place, model: Making): void {
  const fallBack = (keyword: string, pointer = place.pointer): number => model.fallbacks.push({ pointer, keyword });
  const known = new Set([
    'type',
    'properties',
    'required',
    ...(place.path.length === 0 ? ['additionalProperties'] : []),
  ]);
  for (const keyword of Object.keys(object)) if (!annotations.has(keyword) && !known.has(keyword)) fallBack(keyword);
  if (place.path.length === 0 && typeof object.additionalProperties === 'object') fallBack('additionalProperties');
  // SQL sees the leaves, not whether the object around them is there.
  if (place.path.length > 0) fallBack('properties');
  const required = new Set(object.required ?? []);
  const properties = Object.entries(object.properties ?? {});
  if ([...required].some((name) => !Object.hasOwn(object.properties ?? {}, name))) fallBack('required');
  for (const [name, schema] of properties) {
    const pointer = `${place.pointer}${pointerStep(name)}`;
    const keywords = follow(contract, schema, pointer, model);
    const here = {
      path: [...place.path, name],
      pointer,
      required: place.required && required.has(name),
    };
    const types = typesOf(keywords).filter((type) => type !== 'null');
    if (types.length === 1 && types[0] === 'object' && Object.keys(keywords.properties ?? {}).length > 0) {
      collect(contract, keywords, { ...here, required: here.required && !typesOf(keywords).includes('null') }, model);
    } else {
      model.fields.push({ ...here, kind: kindOf(types), nullAllowed: allowsNull(keywords), keywords });
      for (const keyword of Object.keys(keywords))
        if (!annotations.has(keyword) && !sqlKeywords.has(keyword)) fallBack(keyword, pointer);
    }
  }
}

/** The keywords of a schema, through a `$ref`. Keywords beside the reference still count, but only Ajv checks them. */
function follow(contract: ContractSchema, schema: ContractSchema, pointer: string, model: Making): ContractKeywords {
  if (schema === true) return {};
  if (schema === false) {
    model.fallbacks.push({ pointer, keyword: 'false' });
    return {};
  }
  if (schema.$ref === undefined) return schema;
  const { $ref, ...beside } = schema;
  const target = $ref
    .split('/')
    .slice(1)
    .reduce<unknown>((at, step) => {
      const key = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
      return typeof at === 'object' && at !== null && Object.hasOwn(at, key)
        ? (at as Record<string, unknown>)[key]
        : undefined;
    }, contract);
  if (typeof target !== 'object' && typeof target !== 'boolean') {
    throw new FluxError('CONTRACT_INVALID', `The contract's $ref "${$ref}" leads nowhere. Correct it.`);
  }
  for (const keyword of Object.keys(beside)) if (!annotations.has(keyword)) model.fallbacks.push({ pointer, keyword });
  return follow(contract, target as ContractSchema, pointer, model);
}

function typesOf(keywords: ContractKeywords): string[] {
  if (keywords.type !== undefined) return Array.isArray(keywords.type) ? keywords.type : [keywords.type];
  const values = keywords.enum ?? ('const' in keywords ? [keywords.const] : []);
  return [...new Set(values.map(jsonTypeOf))];
}

function jsonTypeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value;
}

function kindOf(types: readonly string[]): FieldKind {
  const kinds = new Set(types);
  if (kinds.size === 0) return 'any';
  if (kinds.size === 2 && kinds.has('integer') && kinds.has('number')) return 'number';
  const [only] = kinds;
  if (kinds.size > 1) return 'json';
  return only === 'integer' || only === 'number' || only === 'string' || only === 'boolean' ? only : 'json';
}

function allowsNull(keywords: ContractKeywords): boolean {
  const byType = keywords.type === undefined || typesOf(keywords).includes('null');
  const byEnum = keywords.enum === undefined || keywords.enum.includes(null);
  const byConst = !('const' in keywords) || keywords.const === null;
  return byType && byEnum && byConst;
}
