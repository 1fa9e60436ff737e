import { SaxesParser } from 'saxes';
import type { DateStyle } from './cell-dates.ts';
import { type SharedStrings, unescapeText } from './shared-strings.ts';

/** What a cell holds, as the file says it. */
export type CellValue =
  | { is: 'text'; text: string }
  | { is: 'number'; written: string; style: DateStyle }
  | { is: 'boolean'; value: boolean }
  | { is: 'fault'; message: string; shown: string };

export interface SheetCell {
  /** From 0. */
  column: number;
  /** Its name for people: C12. */
  reference: string;
  value: CellValue;
}

/** What cells refer to. */
export interface CellContext {
  strings: SharedStrings | null;
  styles: readonly DateStyle[];
}

/** A cell while its content is read. */
interface OpenCell {
  column: number;
  reference: string;
  type: string;
  style: number;
  value: string | null;
  inline: string | null;
  hasFormula: boolean;
}

/**
 * The cells of one `row` element that hold something, in order.
 *
 * @returns null, with the parser's words, where it is no well-formed XML or a cell says that it stands where none can
 */
export function rowCells(xml: string, context: CellContext): { cells: SheetCell[] } | { problem: string } {
  const parser = new SaxesParser({ fragment: true, position: false });
  const cells: SheetCell[] = [];
  let problem: string | null = null;
  let rowName = '';
  let cell: OpenCell | null = null;
  let nextColumn = 0;
  /** Where text goes. */
  let into: 'value' | 'inline' | null = null;
  const open: string[] = [];
  const fail = (words: string): never => {
    problem ??= words;
    throw new Error(words);
  };
  parser.on('error', (error) => fail(`must be well-formed XML: ${error.message.replace(/^undefined:/, '')}`));
  parser.on('opentag', ({ name, attributes }) => {
    const local = localName(name);
    open.push(local);
    const found = attributes as Readonly<Record<string, string>>;
    if (local === 'row') rowName = found['r'] ?? '';
    else if (local === 'c' && cell === null) {
      const reference = found['r'];
      const column = reference === undefined ? nextColumn : columnOf(reference);
      if (column === null || column < nextColumn)
        return fail(`holds a cell at "${String(reference)}", where none can be`);
      nextColumn = column + 1;
      const style = Number(found['s'] ?? 0);
      const shown = reference ?? `${columnName(column)}${rowName}`;
      cell = { column, reference: shown, type: found['t'] ?? 'n', style, value: null, inline: null, hasFormula: false };
    } else if (cell !== null && local === 'f') cell.hasFormula = true;
    else if (cell !== null && local === 'v') {
      cell.value ??= '';
      into = 'value';
    } else if (cell !== null && local === 't' && !open.includes('rPh')) {
      cell.inline ??= '';
      into = 'inline';
    }
  });
  const addText = (text: string): void => {
    if (cell === null || into === null) return;
    cell[into] = (cell[into] ?? '') + text;
  };
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.on('closetag', ({ name }) => {
    open.pop();
    into = null;
    if (localName(name) !== 'c' || cell === null) return;
    const value = valueOf(cell, context);
    if (value !== null) cells.push({ column: cell.column, reference: cell.reference, value });
    cell = null;
  });
  try {
    parser.write(xml).close();
  } catch (cause) {
    if (problem === null) throw cause;
  }
  return problem === null ? { cells } : { problem };
}

/** @returns null: nothing is there */
function valueOf(cell: OpenCell, { strings, styles }: CellContext): CellValue | null {
  const { type, value, inline, reference } = cell;
  if (type === 'inlineStr') return textOf(inline === null ? '' : unescapeText(inline));
  if (value === null || value === '') {
    if (!cell.hasFormula || type === 'str') return null;
    return fault(reference, 'holds a formula without its result; save the file in a spreadsheet program', '');
  }
  switch (type) {
    case 's': {
      const text = /^\d+$/.test(value) ? (strings?.at(Number(value)) ?? null) : null;
      return text === null
        ? fault(reference, `refers to the shared text ${value}, which is not there`, value)
        : textOf(text);
    }
    case 'str':
      return textOf(unescapeText(value));
    case 'd':
      return textOf(value);
    case 'b':
      return value === '1' || value === '0'
        ? { is: 'boolean', value: value === '1' }
        : fault(reference, `must be 0 or 1 as a boolean, found "${value.slice(0, 40)}"`, value);
    case 'e':
      return fault(reference, `holds the error ${value.slice(0, 40)}`, value);
    case 'n':
      return /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/.test(value)
        ? { is: 'number', written: value, style: styles[cell.style] ?? null }
        : fault(reference, `must be a number, found "${value.slice(0, 40)}"`, value);
    default:
      return fault(reference, `is of the unknown type "${type.slice(0, 40)}"`, value);
  }
}

function textOf(text: string): CellValue | null {
  return text === '' ? null : { is: 'text', text };
}

function fault(reference: string, problem: string, shown: string): CellValue {
  return { is: 'fault', message: `${reference} ${problem}`, shown };
}

/** Sheets end at XFD. */
const columnCountMax = 16_384;

/** The column of a reference, from 0; null: no sheet has it. */
export function columnOf(reference: string): number | null {
  const letters = /^\$?([A-Z]{1,3})\$?[1-9]\d{0,6}$/.exec(reference)?.[1];
  if (letters === undefined) return null;
  let column = 0;
  for (const letter of letters) column = column * 26 + letter.charCodeAt(0) - 64;
  return column > columnCountMax ? null : column - 1;
}

export function columnName(column: number): string {
  let name = '';
  for (let rest = column + 1; rest > 0; rest = Math.floor((rest - 1) / 26))
    name = String.fromCharCode(65 + ((rest - 1) % 26)) + name;
  return name;
}

function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}
