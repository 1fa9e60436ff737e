import { pointerStep } from '../../../contracts/issues.ts';
import { FluxError } from '../../../errors.ts';
import type { ByteFile } from '../../../objects/byte-file.ts';
import { checkText } from '../encoding-check.ts';
import type { ContractField, ContractModel } from '../contract-model.ts';
import { type Expected, expectedRecord } from '../typed-text.ts';
import { serialText } from './cell-dates.ts';
import { type CellContext, columnName, rowCells, type SheetCell } from './row-cells.ts';
import { type SheetRange, SheetWalk } from './sheet-walk.ts';
import { invalid } from './workbook.ts';
import type { XlsxFormat } from './xlsx-reader.ts';

/** Where the values of a column go. */
export interface Target {
  path: readonly string[];
  expected: Expected;
  /** null: the contract does not name it, so that it is not loaded. */
  field: ContractField | null;
}

interface Sheet {
  format: XlsxFormat;
  range: SheetRange | null;
  context: CellContext;
  from1904: boolean;
}

/**
 * The names of the columns, from the first one of the range on.
 *
 * @returns them, and where the rows behind the header begin
 * @throws SOURCE_INVALID no row, a column without a name, a name twice, other names than the pipeline declares
 */
export function readHeadings(file: ByteFile, sheet: Sheet): { names: readonly string[]; firstOffset: number } {
  checkText(file, 'the XML of a sheet');
  const { header, columns } = sheet.format;
  const walk = new SheetWalk(file, 0, sheet.range);
  if (!walk.next()) throw invalid('holds no row with anything in it where records were expected');
  if (!header) {
    const names = columns ?? [];
    checkWidth(names, sheet.range);
    return { names, firstOffset: 0 };
  }
  const row = rowCells(walk.buffer.toString('utf8', walk.start, walk.end), sheet.context);
  if ('problem' in row) throw invalid(`holds a header that ${row.problem} (byte ${walk.offset} of its XML)`);
  const names = namesOf(row.cells, sheet);
  const wrong = names.find((name, at) => names.indexOf(name) !== at);
  if (wrong !== undefined) throw invalid(`names "${wrong}" twice in its header. Names must differ`);
  if (columns !== null && columns.join('\0') !== names.join('\0')) {
    throw new FluxError(
      'SOURCE_INVALID',
      `Expected the header ${list(columns)}, found ${list(names)}. Correct source.format.columns or the source.`,
    );
  }
  return { names, firstOffset: walk.nextOffset };
}

function namesOf(cells: readonly SheetCell[], { range, from1904 }: Sheet): string[] {
  const from = range?.columns[0] ?? 0;
  const to = range?.columns[1] ?? cells.at(-1)?.column ?? 0;
  const names: string[] = [];
  for (let column = from; column <= to; column += 1) {
    const found = cells.find((each) => each.column === column);
    if (found?.value.is === 'fault') throw invalid(`has a header that cannot be read: ${found.value.message}`);
    const name = found === undefined ? '' : headingText(found, from1904);
    if (name.trim() === '') {
      throw invalid(
        `leaves column ${columnName(column)} without a name in its header. Name it, limit source.format.range, or set header to false`,
      );
    }
    names.push(name);
  }
  return names;
}

function headingText({ value }: SheetCell, from1904: boolean): string {
  if (value.is === 'text') return value.text;
  if (value.is === 'boolean') return String(value.value);
  if (value.is === 'fault') return '';
  const { style, written } = value;
  return style === null ? written : (serialText(Number(written), style, { from1904, wantsTime: false }) ?? written);
}

function checkWidth(names: readonly string[], range: SheetRange | null): void {
  if (range === null) return;
  const width = range.columns[1] - range.columns[0] + 1;
  if (width === names.length) return;
  throw new FluxError(
    'SOURCE_INVALID',
    `source.format.range has ${width} columns, and source.format.columns names ${names.length}. Correct one of them.`,
  );
}

/**
 * Holds the columns against the contract, as for a delimited file: `address.city` and `address_city` both mean the property within the
 * other.
 *
 * @throws SOURCE_INVALID a required one is missing, or there is one that the contract does not allow
 */
export function matchHeadings(names: readonly string[], model: ContractModel | null): Target[] {
  if (model === null) return names.map(plainTarget);
  const placeOf = ({ path }: ContractField): number => {
    const exact = names.indexOf(path.join('.'));
    return exact === -1 ? names.indexOf(path.join('_')) : exact;
  };
  const missing = model.fields.filter((field) => field.required && placeOf(field) === -1);
  if (missing.length > 0) {
    throw new FluxError(
      'SOURCE_INVALID',
      `The contract requires ${list(missing.map(({ path }) => path.join('.')))}, which the header does not name. Found: ${list(names)}. Correct the contract or the source.`,
    );
  }
  const fieldOf = new Map(model.fields.map((field) => [placeOf(field), field]));
  const unknown = names.filter((_name, at) => !fieldOf.has(at));
  if (unknown.length > 0 && !model.open) {
    throw new FluxError(
      'SOURCE_INVALID',
      `The header names ${list(unknown)}, which the contract does not allow (additionalProperties). Correct the contract or the source.`,
    );
  }
  const expected = expectedRecord(model.fields);
  return names.map((name, at) => {
    const field = fieldOf.get(at) ?? null;
    const path = field?.path ?? [name];
    return { path, field, expected: field === null ? { is: 'text' } : expectedAt(expected, path) };
  });
}

/** Without a contract each column is text. */
function plainTarget(name: string): Target {
  const path = [name];
  const field = {
    path,
    pointer: pointerStep(name),
    kind: 'string',
    nullAllowed: true,
    required: false,
    keywords: {},
  } as const;
  return { path, field, expected: { is: 'text' } };
}

function expectedAt(expected: Expected, path: readonly string[]): Expected {
  let at: Expected | undefined = expected;
  for (const name of path) at = at?.is === 'object' ? at.members.get(name) : undefined;
  return at ?? { is: 'text' };
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, 20).map((name) => `"${name}"`);
  return names.length > 20 ? `${shown.join(', ')} and ${names.length - 20} more` : shown.join(', ');
}
