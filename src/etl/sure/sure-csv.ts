import type { RecordColumns } from '../ingest/columns.ts';
import type { CsvSplitter } from '../ingest/csv-splitter.ts';
import { recordByteCountMax } from '../ingest/limits.ts';
import { delimiterEnd, FieldAutomaton, type FieldText, lineEnd, returnEnd } from './field-automaton.ts';
import { SureRows } from './sure-rows.ts';
import { sureCheck, type SureCheck, sureValue, type SureValue } from './sure-value.ts';
import { anyText } from './text-states.ts';

interface SureDialect {
  fieldCount: number;
  delimiter: string;
  /** null: there are none. */
  quote: string | null;
  /** null: there are none. */
  comment: string | null;
}

const quoteByte = 34;
const lineFeed = 10;
/** A field of the source that is no column. */
const ignored: SureValue = { states: anyText(0), check: null, mayDouble: true };

/**
 * Takes the records of delimited text that surely meet their contract from the source to COPY, without DuckDB: nearly all records are
 * written plainly, and one walk through their bytes finds their end, judges them and copies them.
 */
export class SureCsv {
  readonly rows = new SureRows();
  /** The columns in the order in which a row has them: that of their fields, those without one last. */
  readonly order: readonly number[];
  /** Which field of the record each column of a row is; -1: none. */
  readonly #columns: readonly number[];
  /** The row is the record as it stands. */
  readonly #whole: boolean;
  readonly #comment: number;
  readonly #steps: Uint16Array;
  readonly #starts: Uint16Array;
  readonly #checks: readonly (SureCheck | null)[];
  /** Of the record at hand: where each field begins, and behind the last one. */
  readonly #places: Int32Array;

  private constructor(places: readonly number[], values: readonly (SureValue & FieldText)[], dialect: SureDialect) {
    const { delimiter, quote, comment, fieldCount } = dialect;
    const code = (character: string | null): number => character?.charCodeAt(0) ?? -1;
    const automaton = new FieldAutomaton(values, anyText(0), { delimiter: code(delimiter), quote: code(quote) });
    const last = (place: number): number => (place === -1 ? fieldCount : place);
    this.order = [...places.keys()].sort((one, other) => last(places[one] as number) - last(places[other] as number));
    const columns = this.order.map((column) => places[column] as number);
    this.#columns = columns;
    this.#whole = delimiter === ',' && columns.length === fieldCount && columns.every((field, at) => field === at);
    this.#comment = code(comment);
    this.#steps = automaton.steps;
    this.#starts = automaton.starts;
    this.#checks = values.map((value, at) => (automaton.unchecked[at] ? sureCheck(value) : value.check));
    this.#places = new Int32Array(fieldCount + 1);
  }

  /**
   * @param places which field of the record each column is; undefined: none
   * @returns null: of some column nothing is ever sure
   */
  static of(
    { columns, checkRecords }: RecordColumns,
    places: readonly (number | undefined)[],
    dialect: SureDialect,
  ): SureCsv | null {
    if (checkRecords) return null;
    const values = Array.from({ length: dialect.fieldCount }, () => ({ ...ignored, mayBeEmpty: true }));
    for (const [at, { field }] of columns.entries()) {
      const value = field === null ? ignored : sureValue(field);
      if (value === null) return null;
      const place = places[at];
      const mayBeEmpty = field === null || !field.required || field.nullAllowed;
      if (place !== undefined) values[place] = { ...value, mayBeEmpty };
    }
    return new SureCsv(
      columns.map((_column, at) => places[at] ?? -1),
      values,
      dialect,
    );
  }

  /**
   * @param splitter before a record. @returns whether its row is written, and the splitter behind it; else the record is to be read, and
   *   left if it is one
   */
  take(recordNo: number, splitter: CsvSplitter): boolean {
    const wholeTo = splitter.wholeLines();
    const { buffer, position: start } = splitter;
    if (start >= wholeTo || buffer[start] === this.#comment) return false;
    const next = this.#walk(buffer, start);
    if (next === -1) return false;
    const { rows } = this;
    const end = this.#places[this.#starts.length] as number;
    rows.begin(recordNo, end - start + this.#columns.length);
    if (this.#whole) {
      rows.separate();
      rows.addPlain(buffer, start, end);
    } else this.#writeColumns(buffer);
    rows.end();
    splitter.pass(end, next);
    return true;
  }

  /** Judges a record. @returns where the next one begins; -1: this one is not surely good */
  #walk(buffer: Uint8Array, start: number): number {
    const [steps, starts, checks, places] = [this.#steps, this.#starts, this.#checks, this.#places];
    const fieldCount = starts.length;
    let at = start;
    for (let field = 0; field < fieldCount; field += 1) {
      const from = at;
      let state = starts[field] as number;
      // A line end is always found: the splitter has seen it.
      do state = steps[(state << 8) | (buffer[at++] as number)] as number;
      while (state > returnEnd);
      places[field] = from;
      const check = checks[field] as SureCheck | null;
      if (check !== null && at - 1 > from) {
        const quotes = buffer[from] === quoteByte ? 1 : 0;
        if (!check(buffer, from + quotes, at - 1 - quotes)) return -1;
      }
      if (state === delimiterEnd) continue;
      // An empty line is no record.
      if (field + 1 < fieldCount || at - 1 === start || at - start > recordByteCountMax) return -1;
      places[fieldCount] = at - 1;
      if (state === lineEnd) return at;
      return state === returnEnd && buffer[at] === lineFeed ? at + 1 : -1;
    }
    return -1;
  }

  #writeColumns(buffer: Buffer): void {
    const { rows } = this;
    const places = this.#places;
    const last = this.#starts.length - 1;
    for (const field of this.#columns) {
      rows.separate();
      if (field === -1) continue;
      rows.addPlain(buffer, places[field] as number, (places[field + 1] as number) - (field === last ? 0 : 1));
    }
  }
}
