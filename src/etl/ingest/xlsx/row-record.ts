import { isUtf8 } from 'node:buffer';
import type { ParsedRecord } from '../json-record.ts';
import { setAt } from '../record-shape.ts';
import { jsonNumber, readText } from '../typed-text.ts';
import { serialText } from './cell-dates.ts';
import type { Target } from './headings.ts';
import { type CellContext, rowCells, type SheetCell } from './row-cells.ts';
import type { SheetRange } from './sheet-walk.ts';

/** What a row is read by. */
export interface RowReading {
  targets: readonly Target[];
  context: CellContext;
  from1904: boolean;
  range: SheetRange | null;
}

/**
 * A row as JSON would say it. A text that is written as the number or the boolean that the contract wants is read as one, as in CSV; a number
 * where the contract wants text stays a number, since nobody knows the zeros that its style may have shown.
 */
export function recordOf(row: Buffer, reading: RowReading): ParsedRecord {
  if (!isUtf8(row)) return fault('', 'encoding', 'must be UTF-8, and holds other bytes');
  const read = rowCells(row.toString('utf8'), reading.context);
  if ('problem' in read) return fault('', 'parse', read.problem);
  const cells = placed(read.cells, reading);
  const beyond = [...cells].find(([at]) => at >= reading.targets.length)?.[1];
  if (beyond !== undefined) {
    const { length } = reading.targets;
    return fault('', 'fields', `must have at most ${length} cells, found one more at ${beyond.reference}`);
  }
  const record: Record<string, unknown> = {};
  for (const [at, target] of reading.targets.entries()) {
    const { field, path } = target;
    const cell = cells.get(at);
    const taken = cell === undefined ? {} : valueOf(cell, target, reading.from1904);
    if ('problem' in taken) {
      // Of a column that the contract does not name nothing is loaded.
      if (field !== null) return fault(field.pointer, 'cell', taken.problem);
    } else if (taken.value !== undefined && taken.value !== null) setAt(record, path, taken.value);
    else if (field?.required === true && field.nullAllowed) setAt(record, path, null);
  }
  const text = JSON.stringify(record);
  return { value: JSON.parse(text) as unknown, text };
}

/** A row for people: its values by their names, errors as the sheet shows them. */
export function shownRecord(row: Buffer, reading: RowReading): string {
  const xml = row.toString('utf8');
  const read = rowCells(xml, reading.context);
  if ('problem' in read) return xml;
  const record: Record<string, unknown> = {};
  for (const [at, cell] of placed(read.cells, reading)) {
    const target = reading.targets[at];
    const taken = valueOf(cell, target ?? nowhere, reading.from1904);
    const value = 'problem' in taken ? shownFault(cell) : taken.value;
    if (value !== undefined) setAt(record, target?.path ?? [cell.reference], value);
  }
  return JSON.stringify(record);
}

const nowhere: Target = { path: [], field: null, expected: { is: 'text' } };

/** By their places among the columns that are read. */
function placed(cells: readonly SheetCell[], { range }: RowReading): Map<number, SheetCell> {
  const [from, to] = range?.columns ?? [0, Infinity];
  const within = cells.filter(({ column }) => column >= from && column <= to);
  return new Map(within.map((cell) => [cell.column - from, cell]));
}

type Taken = { value?: unknown } | { problem: string };

function valueOf({ value, reference }: SheetCell, { field, expected }: Target, from1904: boolean): Taken {
  if (value.is === 'fault') return { problem: value.message };
  if (value.is === 'boolean') return { value: value.value };
  if (value.is === 'text') return { value: readText(value.text, expected) };
  const { written, style } = value;
  if (style === null) return { value: jsonNumber(written) };
  const format = field?.keywords.format;
  const wantsTime = format === 'local-date-time' || format === 'date-time';
  const text = serialText(Number(written), style, { from1904, wantsTime });
  return text === null ? { problem: `${reference} is shown as a date, and ${written} is none` } : { value: text };
}

function shownFault({ value }: SheetCell): string {
  if (value.is === 'fault') return value.shown;
  return value.is === 'number' ? value.written : '';
}

function fault(path: string, rule: string, message: string): ParsedRecord {
  return { issue: { path, rule, message } };
}
