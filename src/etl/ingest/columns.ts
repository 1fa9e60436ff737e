import { FluxError } from '../../errors.ts';
import { literal } from '../duckdb/sql-text.ts';
import { checkColumnNames, columnName } from './column-names.ts';
import type { ContractField, ContractModel, Fallback, FieldKind } from './contract-model.ts';
import { compileField, type SqlRule } from './contract-sql.ts';
import {
  cell,
  isTimeFormat,
  readWritten,
  typed,
  type Written,
  writtenBoolean,
  writtenInteger,
  writtenNumber,
  writtenTimes,
} from './lexical.ts';

/** One column of the records as the batch's SQL sees it. */
export interface RecordColumn {
  /** The dataset's name for it, before any transform. */
  name: string;
  /** The source's own name: a heading, or property names joined by a dot. */
  original: string;
  field: ContractField | null;
  /** Expression over the source relation, for the typed value; null where the cell is that already. */
  read: string | null;
  /** The typed value once it is read. */
  value: string;
  /** The value as text for people, over cells. */
  found: string;
  /** Whether `found` is shown in quotation marks. */
  quoted: boolean;
  /** The value as JSON sees it, for Ajv. */
  json: string;
  rules: readonly SqlRule[];
}

export interface RecordColumns {
  columns: readonly RecordColumn[];
  /** Each record that passed SQL must pass Ajv too. */
  checkRecords: boolean;
  /** The keywords for which it must; empty where SQL checks everything, and where Ajv has seen the records before. */
  fallbacks?: readonly Fallback[];
}

/** Columns of a delimited file: each cell is text that must be written as its type, and an empty one is absent. */
export function csvColumns(model: ContractModel, cellOf: (field: ContractField) => string | null): RecordColumns {
  const fallbacks = [...model.fallbacks];
  const columns = model.fields.map((contractField, index): RecordColumn => {
    const { field, complete: kindFits } = asCsvField(contractField);
    const source = cellOf(field) ?? 'null::varchar';
    const { written, read, value, rules } = readCell(field, source, index);
    const compiled = compileField(field, field.kind === 'string' ? source : value);
    const unchecked = kindFits ? compiled.unchecked : ['type', ...compiled.unchecked];
    fallbacks.push(...unchecked.map((keyword) => ({ pointer: field.pointer, keyword })));
    return {
      ...named(field),
      read,
      value,
      found: source,
      quoted: true,
      json: field.kind === 'string' ? source : value,
      rules: [...requiredRule(field, source), ...(written === null ? [] : rules), ...compiled.rules],
    };
  });
  checkColumnNames(columns);
  return { columns, checkRecords: fallbacks.length > 0, fallbacks };
}

/**
 * Columns of JSON records, which Ajv has accepted as a whole before their leaves became cells. What is left to check is
 * whether the dataset can hold the value: an integer beyond 64 bits, a fraction of a microsecond.
 */
export function jsonColumns(model: ContractModel): RecordColumns {
  const columns = model.fields.map((field, index): RecordColumn => {
    const source = cell(index);
    const { read, value, rules } = readCell(field, source, index);
    const isJson = field.kind === 'json' || field.kind === 'any';
    return {
      ...named(field),
      read,
      value: isJson ? `${source}::json` : value,
      found: source,
      quoted: true,
      json: source,
      rules,
    };
  });
  checkColumnNames(columns);
  return { columns, checkRecords: false };
}

function named(field: ContractField): Pick<RecordColumn, 'name' | 'original' | 'field'> {
  return { name: columnName(field.path), original: field.path.join('.'), field };
}

interface CellReading {
  written: Written | null;
  read: string | null;
  value: string;
  rules: SqlRule[];
}

function readCell(field: ContractField, source: string, index: number): CellReading {
  const written = writtenOf(field);
  if (written === null) return { written, read: null, value: source, rules: [] };
  const value = typed(index);
  const keyword = field.kind === 'string' ? 'format' : 'type';
  const rule = { keyword, broken: `(${source} is not null and ${value} is null)`, expected: written.expected };
  return { written, read: readWritten(source, written), value, rules: [rule] };
}

/** A cell holds one scalar; where the contract leaves the type open, or allows text among others, it is text. */
function asCsvField(field: ContractField): { field: ContractField; complete: boolean } {
  if (field.kind === 'any') return { field: { ...field, kind: 'string' }, complete: true };
  if (field.kind !== 'json') return { field, complete: true };
  if ([field.keywords.type ?? []].flat().includes('string'))
    return { field: { ...field, kind: 'string' }, complete: false };
  throw new FluxError(
    'CONTRACT_INVALID',
    `A delimited file's cell holds text, a number or true and false; ${field.pointer} expects ${JSON.stringify(field.keywords.type ?? 'a choice of types')}. ` +
      'Use one of those types, or a JSON source.',
  );
}

/** Columns of a delimited file without a contract: all text. */
export function plainTextColumns(names: readonly string[]): RecordColumns {
  const columns = names.map((original, index) => ({
    name: columnName([original]),
    original,
    field: null,
    read: null,
    value: cell(index),
    found: cell(index),
    quoted: true,
    json: cell(index),
    rules: [],
  }));
  checkColumnNames(columns);
  return { columns, checkRecords: false };
}

function writtenOf(field: ContractField): Written | null {
  if (field.kind === 'integer') return writtenInteger;
  if (field.kind === 'number') return writtenNumber;
  if (field.kind === 'boolean') return writtenBoolean;
  const { format } = field.keywords;
  return field.kind === 'string' && isTimeFormat(format) ? writtenTimes[format] : null;
}

export function requiredRule(field: ContractField, source: string): SqlRule[] {
  // An empty cell is absent; where the contract allows null it may also stand for that.
  if (!field.required || field.nullAllowed) return [];
  return [{ keyword: 'required', broken: `${source} is null`, expected: 'there' }];
}

/** Columns of a Parquet file: its own types, held against the contract's. */
export function parquetColumns(
  model: ContractModel | null,
  file: readonly { name: string; type: string }[],
): RecordColumns {
  const cellIndex = new Map(file.map(({ name }, index) => [name, index]));
  const fields: (ContractField | null)[] = model?.fields.slice() ?? file.map(() => null);
  const fallbacks = [...(model?.fallbacks ?? [])];
  const columns = fields.map((field, index): RecordColumn => {
    const at = field === null ? index : cellIndex.get(field.path[0] ?? '');
    if (at === undefined) return absentColumn(field as ContractField);
    const inner = (field?.path.slice(1) ?? []).map((name) => `[${literal(name)}]`).join('');
    const raw = `${cell(at)}${inner}`;
    const rawType = inner === '' ? (file[at]?.type ?? '') : innerType(file[at]?.type ?? '', field?.path.slice(1) ?? []);
    // PostgreSQL keeps microseconds; a value that has more is refused by the raw one's rules.
    const [source, type] = rawType === nanoseconds ? [`${raw}::timestamp`, 'TIMESTAMP'] : [raw, rawType];
    const original = field?.path.join('.') ?? file[at]?.name ?? '';
    // A NUL that is no escape could be kept nowhere.
    const found = isNested(rawType) ? `to_json(${raw})::varchar` : `${raw}::varchar`;
    const base = { name: columnName(original.split('.')), original, field, read: null, found };
    const stored = storageRules(raw, rawType);
    if (field === null) return { ...base, value: source, quoted: true, json: source, rules: stored };
    const effective = field.kind === 'any' ? { ...field, kind: kindOfType(type) } : field;
    const native = nativeValue(effective, source, type);
    const compiled = compileField(effective, native.text);
    fallbacks.push(...compiled.unchecked.map((keyword) => ({ pointer: field.pointer, keyword })));
    return {
      ...base,
      read: native.read,
      value: native.read === null ? source : typed(index),
      quoted: native.quoted,
      json: native.json,
      rules: [...requiredRule(field, source), ...stored, ...native.rules(typed(index)), ...compiled.rules],
    };
  });
  checkColumnNames(columns);
  return { columns, checkRecords: fallbacks.length > 0, fallbacks };
}

function absentColumn(field: ContractField): RecordColumn {
  const written = writtenOf(field);
  const value = `null::${written?.duckType ?? 'varchar'}`;
  return {
    ...named(field),
    read: null,
    value,
    found: 'null::varchar',
    quoted: true,
    json: 'null',
    rules: [],
  };
}

interface NativeValue {
  /** Expression of the type that the dataset gets; null: the cell itself. */
  read: string | null;
  /** What the rules about values look at. */
  text: string;
  json: string;
  quoted: boolean;
  rules: (typedValue: string) => SqlRule[];
}

const integerTypes = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER)$/;
const fractionTypes = /^(FLOAT|DOUBLE|DECIMAL\(.*\))$/;

/** Holds a column's type against the contract's. A column that can never fit is the source's fault, once, not each record's. */
function nativeValue(field: ContractField, source: string, type: string): NativeValue {
  const plain: NativeValue = { read: null, text: source, json: source, quoted: false, rules: () => [] };
  const { format } = field.keywords;
  const kind = field.kind;
  const finite: SqlRule = { keyword: 'type', broken: `not isfinite(${source}::double)`, expected: 'a number' };
  const isFraction = fractionTypes.test(type);
  // Ajv reads JSON, which has no other numbers.
  if (kind === 'json') return { ...plain, json: jsonOf(source, type), rules: () => (isFraction ? [finite] : []) };
  if (kind === 'boolean' && type === 'BOOLEAN') return plain;
  if ((kind === 'integer' || kind === 'number') && integerTypes.test(type)) return plain;
  if (kind === 'number' && isFraction) return { ...plain, rules: () => [finite] };
  if (kind === 'integer' && isFraction) {
    // Read as an integer, so that the dataset's column is one; what is none is broken.
    const read = `case when ${source} = trunc(${source}) then try_cast(${source} as bigint) end`;
    const rules = (value: string): SqlRule[] => [
      { keyword: 'type', broken: `(${source} is not null and ${value} is null)`, expected: writtenInteger.expected },
    ];
    return { ...plain, read, text: source, rules };
  }
  if (kind === 'string' && (type === 'VARCHAR' || type.startsWith('ENUM'))) {
    const text = type === 'VARCHAR' ? source : `${source}::varchar`;
    if (!isTimeFormat(format))
      return { ...plain, read: type === 'VARCHAR' ? null : text, text, json: text, quoted: true };
    const written = writtenTimes[format];
    const rules = (value: string): SqlRule[] => [
      { keyword: 'format', broken: `(${text} is not null and ${value} is null)`, expected: written.expected },
    ];
    return { read: readWritten(text, written), text, json: text, quoted: true, rules };
  }
  const rendered = kind === 'string' ? renderedTime(source, type) : null;
  if (rendered !== null && (format === undefined || format === rendered.format)) {
    return { ...plain, text: rendered.text, json: rendered.text };
  }
  const hint = rendered === null ? '' : ` A ${type} without text is "format": "${rendered.format}" in a contract.`;
  throw new FluxError(
    'SOURCE_INVALID',
    `Column "${field.path.join('.')}" is ${type}; the contract expects ${kind}${format === undefined ? '' : ` with format ${format}`}.${hint} ` +
      'Correct the contract or the source.',
  );
}

/** What an untyped field holds, by the file's own type. */
function kindOfType(type: string): FieldKind {
  if (type === 'BOOLEAN') return 'boolean';
  if (integerTypes.test(type)) return 'integer';
  if (fractionTypes.test(type)) return 'number';
  return type === 'VARCHAR' || type.startsWith('ENUM') || renderedTime('', type) !== null ? 'string' : 'json';
}

/** Dates and times as JSON would write them. */
function renderedTime(source: string, type: string): { text: string; format: string } | null {
  if (type === 'DATE') return { text: `strftime(${source}, '%Y-%m-%d')`, format: 'date' };
  if (type === 'TIMESTAMP WITH TIME ZONE')
    return { text: `strftime(${source}, '%Y-%m-%dT%H:%M:%S.%fZ')`, format: 'date-time' };
  if (isTimestamp(type)) return { text: `strftime(${source}, '%Y-%m-%dT%H:%M:%S.%f')`, format: 'local-date-time' };
  return null;
}

function jsonOf(source: string, type: string): string {
  return renderedTime(source, type)?.text ?? source;
}

const nanoseconds = 'TIMESTAMP_NS';
/** Behind an even number of backslashes, which are backslashes of the text. */
const escapedNul = String.raw`(^|[^\\])(\\\\)*\\u0000`;

const quotedText = String.raw`"([^"\\]|\\.)*"`;

/** A list of times ends with brackets. */
function isTimestamp(type: string): boolean {
  return type.startsWith('TIMESTAMP') && !isNested(type);
}

function isNested(type: string): boolean {
  return type.endsWith(']') || type.startsWith('STRUCT') || type.startsWith('MAP');
}

/** What Parquet can hold and Postgres, or JSON, cannot. */
function storageRules(source: string, type: string): SqlRule[] {
  if (type === 'VARCHAR')
    return [{ keyword: 'encoding', broken: `contains(${source}, chr(0))`, expected: 'text without NUL' }];
  if (type === nanoseconds) {
    // It spans the years 1677 to 2262, so that a bound of four digits is no value of it.
    const broken = `(not isfinite(${source}::timestamp) or epoch_ns(${source}) % 1000 <> 0)`;
    return [{ keyword: 'format', broken, expected: 'a time of whole microseconds' }];
  }
  if (isNested(type)) {
    // jsonb has neither; DuckDB writes a number that is none as a word, which stands in no quotes.
    const written = `to_json(${source})::varchar`;
    const bare = `regexp_replace(${written}, ${literal(quotedText)}, '', 'g')`;
    const broken = `(regexp_matches(${bare}, 'NaN|Infinity') or regexp_matches(${written}, ${literal(escapedNul)}))`;
    return [{ keyword: 'type', broken, expected: 'JSON without NUL, and of finite numbers' }];
  }
  if (type === 'DATE' || isTimestamp(type)) {
    const from = `'0001-01-01'::${type === 'DATE' ? 'date' : 'timestamp'}`;
    const before = `'10000-01-01'::${type === 'DATE' ? 'date' : 'timestamp'}`;
    return [
      {
        keyword: 'format',
        broken: `(${source} < ${from} or ${source} >= ${before})`,
        expected: 'between the years 1 and 9999',
      },
    ];
  }
  return [];
}

/** The type of a member of `STRUCT(a BIGINT, b VARCHAR)`. */
function innerType(type: string, path: readonly string[]): string {
  let current = type;
  for (const name of path) {
    const member = structMembers(current).find((each) => each.name === name);
    if (member === undefined) {
      throw new FluxError(
        'SOURCE_INVALID',
        `Expected a member "${name}" in a column of type ${current}. Correct the contract.`,
      );
    }
    current = member.type;
  }
  return current;
}

function structMembers(type: string): { name: string; type: string }[] {
  const body = /^STRUCT\((.*)\)$/s.exec(type)?.[1];
  if (body === undefined) return [];
  const parts: string[] = [];
  let depth = 0;
  let quoted = false;
  let from = 0;
  for (let at = 0; at < body.length; at += 1) {
    const letter = body[at];
    if (letter === '"') quoted = !quoted;
    else if (!quoted && letter === '(') depth += 1;
    else if (!quoted && letter === ')') depth -= 1;
    else if (!quoted && depth === 0 && letter === ',') {
      parts.push(body.slice(from, at));
      from = at + 1;
    }
  }
  parts.push(body.slice(from));
  return parts.map((part) => {
    const [, name = '', memberType = ''] = /^\s*("(?:[^"]|"")*"|\S+)\s+(.*)$/s.exec(part) ?? [];
    return { name: name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name, type: memberType };
  });
}
