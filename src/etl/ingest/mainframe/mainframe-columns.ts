import type { Encoding, RecordField, RecordLayout } from '../../../contracts/copybook/record-layout.ts';
import { FluxError } from '../../../errors.ts';
import { checkColumnNames, columnName } from '../column-names.ts';
import { csvColumns, type RecordColumn, type RecordColumns, requiredRule } from '../columns.ts';
import type { ContractField, ContractModel } from '../contract-model.ts';
import { compileField } from '../contract-sql.ts';
import { cell, typed } from '../lexical.ts';

/** A field that becomes a cell. */
export interface SelectedField {
  field: RecordField;
  /** JSON Pointer by which the contract knows it. */
  pointer: string;
  /** Its digits are kept as text, leading zeros and all: identifiers. */
  padded: boolean;
}

/**
 * Pairs the contract's properties with the copybook's fields: ACCT-ID is `ACCT-ID`, `acct_id` or `acctId`. Numbers are exact:
 * an integer of up to 18 digits is bigint, everything else numeric. Fields that the contract does not name are not decoded.
 */
export function selectFields(
  layout: RecordLayout,
  model: ContractModel | null,
): { selected: SelectedField[]; columns: RecordColumns } {
  if (model === null) return selectAll(layout);
  const byName = new Map(layout.fields.map((field) => [columnName([field.name]), field]));
  const fieldOf = (path: readonly string[]): RecordField | undefined => byName.get(columnName(path));
  checkNames(layout, model, fieldOf);
  const selected: SelectedField[] = [];
  const cells = new Map<ContractField['pointer'], { at: number; field: RecordField }>();
  for (const contractField of model.fields) {
    const field = fieldOf(contractField.path);
    if (field === undefined) continue;
    cells.set(contractField.pointer, { at: selected.length, field });
    selected.push({ field, pointer: contractField.pointer, padded: !isNumber(contractField) });
  }
  const asText = csvColumns(model, ({ pointer }) => {
    const found = cells.get(pointer);
    return found === undefined ? null : cell(found.at);
  });
  let { checkRecords } = asText;
  const columns = asText.columns.map((column, index): RecordColumn => {
    const contractField = model.fields[index];
    const found = contractField === undefined ? undefined : cells.get(contractField.pointer);
    const type = found === undefined ? null : numberType(found.field.encoding);
    if (contractField === undefined || found === undefined || type === null || !isNumber(contractField)) return column;
    // The text rules stay where a fraction stands against an integer, or more than 64 bits against a bigint.
    if (contractField.kind === 'integer' && type !== 'bigint') return column;
    const numeric: ContractField = { ...contractField, kind: contractField.kind === 'integer' ? 'integer' : 'number' };
    const compiled = compileField(numeric, typed(index));
    checkRecords ||= compiled.unchecked.length > 0;
    return {
      ...numberColumn(column, { at: found.at, index, type }),
      rules: [...requiredRule(contractField, cell(found.at)), ...compiled.rules],
    };
  });
  return { selected, columns: { columns, checkRecords } };
}

/** `any` is taken for what the copybook says. */
function isNumber({ kind }: ContractField): boolean {
  return kind === 'integer' || kind === 'number' || kind === 'any';
}

/** Without a contract every field is a column, each under the first of its views. */
function selectAll(layout: RecordLayout): { selected: SelectedField[]; columns: RecordColumns } {
  const fields = layout.fields.filter(({ redefines }) => !redefines);
  const columns = fields.map((field, index): RecordColumn => {
    const source = cell(index);
    const base = {
      name: columnName([field.name]),
      original: field.name,
      field: null,
      read: null,
      value: source,
      found: source,
      quoted: true,
      json: source,
      rules: [],
    };
    const type = numberType(field.encoding);
    return type === null ? base : numberColumn(base, { at: index, index, type });
  });
  checkColumnNames(columns);
  const selected = fields.map((field) => ({ field, pointer: `/${field.name}`, padded: false }));
  return { selected, columns: { columns, checkRecords: false } };
}

function numberColumn(
  column: RecordColumn,
  { at, index, type }: { at: number; index: number; type: string },
): RecordColumn {
  return {
    ...column,
    read: `${cell(at)}::${type}`,
    value: typed(index),
    found: cell(at),
    quoted: false,
    json: typed(index),
  };
}

/** DuckDB's type that holds every value of the field exactly; null: text. */
function numberType(encoding: Encoding): string | null {
  if (encoding.kind === 'text') return null;
  const { digits, scale } = encoding;
  const isFullWidth = encoding.kind === 'binary' && encoding.native;
  if (scale === 0 && digits <= 18 && !(isFullWidth && digits > 9 && !encoding.signed)) return 'bigint';
  const precision = isFullWidth ? Math.max(digits <= 4 ? 5 : digits <= 9 ? 10 : 20, scale + 1) : digits;
  return `decimal(${precision}, ${scale})`;
}

function checkNames(
  layout: RecordLayout,
  model: ContractModel,
  fieldOf: (path: readonly string[]) => RecordField | undefined,
): void {
  const missing = model.fields.filter((field) => field.required && fieldOf(field.path) === undefined);
  if (missing.length > 0) {
    throw invalid(
      `The contract requires ${list(missing.map(({ path }) => path.join('.')))}, which the copybook does not name. ` +
        `Found: ${list(layout.fields.map(({ name }) => name))}. Correct the contract or the copybook.`,
    );
  }
  const known = new Set(model.fields.map(({ path }) => fieldOf(path)));
  // Of several views of the same bytes the contract may name one.
  const covered = (field: RecordField): boolean =>
    [...known].some(
      (other) =>
        other !== undefined && other.offset < field.offset + field.length && field.offset < other.offset + other.length,
    );
  const unknown = layout.fields.filter((field) => !known.has(field) && !covered(field));
  if (unknown.length > 0 && !model.open) {
    throw invalid(
      `The copybook names ${list(unknown.map(({ name }) => name))}, which the contract does not allow (additionalProperties). ` +
        'Correct the contract, or make the field FILLER.',
    );
  }
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, 20).map((name) => `"${name}"`);
  return names.length > 20 ? `${shown.join(', ')} and ${names.length - 20} more` : shown.join(', ');
}

function invalid(message: string): FluxError {
  return new FluxError('SOURCE_INVALID', message);
}
