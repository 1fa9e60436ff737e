import type { OutputType } from '../engine-types.ts';
import type { RecordColumns } from '../ingest/columns.ts';
import type { CsvSplitter } from '../ingest/csv-splitter.ts';
import { recordByteCountMax } from '../ingest/limits.ts';
import type { CopyRows } from './copy-rows.ts';
import { delimiterEnd, FieldAutomaton, type FieldText, lineEnd, returnEnd } from './field-automaton.ts';
import { sureRead, type SureRead, type SureType, sureValue, type SureValue } from './sure-value.ts';
import { anyText } from './text-states.ts';

interface SureDialect {
  fieldCount: number;
  delimiter: string;
  /** null: there are none. */
  quote: string | null;
  /** null: there are none. */
  comment: string | null;
}

const lineFeed = 10;
/** A field of the source that is no column. */
const ignored: SureValue = { type: 'text', states: anyText(0), read: null, mayDouble: true };

/**
 * Takes the records of delimited text that surely meet their contract from the source to COPY, without DuckDB: nearly all records are
 * written plainly, and one walk through their bytes finds their end and judges them.
 */
export class SureCsv {
  readonly rows: CopyRows;
  /** Which field of the record each column is; -1: none. */
  readonly #columns: readonly number[];
  readonly #comment: number;
  readonly #quote: number;
  readonly #steps: Uint16Array;
  /** Of each field of the record, as what follows. */
  readonly #starts: Uint16Array;
  readonly #types: readonly SureType[];
  readonly #reads: readonly (SureRead | null)[];
  /** Of the record at hand: where each field begins, and behind the last one; and the number that it stands for. */
  readonly #places: Int32Array;
  readonly #numbers: Float64Array;

  private constructor(
    rows: CopyRows,
    columns: readonly number[],
    { values, dialect }: { values: readonly (SureValue & FieldText)[]; dialect: SureDialect },
  ) {
    const { delimiter, quote, comment, fieldCount } = dialect;
    const code = (character: string | null): number => character?.charCodeAt(0) ?? -1;
    this.#quote = code(quote);
    this.#comment = code(comment);
    const automaton = new FieldAutomaton(values, anyText(0), { delimiter: code(delimiter), quote: this.#quote });
    this.rows = rows;
    this.#columns = columns;
    this.#steps = automaton.steps;
    this.#starts = automaton.starts;
    this.#types = values.map(({ type }) => type);
    this.#reads = values.map((value, at) => (automaton.unchecked[at] ? sureRead(value) : value.read));
    this.#places = new Int32Array(fieldCount + 1);
    this.#numbers = new Float64Array(fieldCount);
  }

  /**
   * @param places which field of the record each column is; undefined: none
   * @param types of the columns that take them
   * @returns null: of some column nothing is ever sure
   */
  static of(
    { columns, checkRecords }: RecordColumns,
    places: readonly (number | undefined)[],
    { dialect, types, rows }: { dialect: SureDialect; types: readonly OutputType[]; rows: CopyRows },
  ): SureCsv | null {
    if (checkRecords) return null;
    const values = Array.from({ length: dialect.fieldCount }, () => ({ ...ignored, mayBeEmpty: true }));
    for (const [at, { field }] of columns.entries()) {
      const value = field === null ? ignored : sureValue(field);
      if (value === null || value.type !== types[at]) return null;
      const place = places[at];
      const mayBeEmpty = field === null || !field.required || field.nullAllowed;
      if (place !== undefined) values[place] = { ...value, mayBeEmpty };
    }
    const own = columns.map((_column, at) => places[at] ?? -1);
    return new SureCsv(rows, own, { values, dialect });
  }

  /**
   * @param splitter before a record. @returns whether its row is written, and the splitter behind it; else the record is to be read
   */
  take(recordNo: number, splitter: CsvSplitter): boolean {
    const wholeTo = splitter.wholeLines();
    const { buffer, position: start } = splitter;
    if (start >= wholeTo || buffer[start] === this.#comment) return false;
    const next = this.#walk(buffer, start);
    if (next === -1) return false;
    const end = this.#places[this.#starts.length] as number;
    this.rows.begin(recordNo, this.#columns.length, end - start);
    this.#addCells(buffer);
    splitter.pass(end, next);
    return true;
  }

  /** Judges a record. @returns where the next one begins; -1: this one is not surely good */
  #walk(buffer: Uint8Array, start: number): number {
    const [steps, starts, reads, places] = [this.#steps, this.#starts, this.#reads, this.#places];
    const [numbers, quote] = [this.#numbers, this.#quote];
    const fieldCount = starts.length;
    let at = start;
    for (let field = 0; field < fieldCount; field += 1) {
      const from = at;
      let state = starts[field] as number;
      // A line end is always found: the splitter has seen it.
      do state = steps[(state << 8) | (buffer[at++] as number)] as number;
      while (state > returnEnd);
      places[field] = from;
      const read = reads[field] as SureRead | null;
      if (read !== null && at - 1 > from) {
        const quotes = buffer[from] === quote ? 1 : 0;
        const found = read(buffer, from + quotes, at - 1 - quotes);
        if (Number.isNaN(found)) return -1;
        numbers[field] = found;
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

  #addCells(buffer: Uint8Array): void {
    const { rows } = this;
    const [places, types, quote] = [this.#places, this.#types, this.#quote];
    const last = this.#starts.length - 1;
    for (const field of this.#columns) {
      const from = field === -1 ? 0 : (places[field] as number);
      const to = field === -1 ? 0 : (places[field + 1] as number) - (field === last ? 0 : 1);
      if (from === to) {
        rows.addNull();
        continue;
      }
      const type = types[field] as SureType;
      const quoted = buffer[from] === quote ? 1 : 0;
      if (type !== 'text') rows.addValue(type, this.#numbers[field] as number, buffer, from + quoted, to - quoted);
      else if (quoted) rows.addDoubled(buffer, from + 1, to - 1, quote);
      else rows.addText(buffer, from, to);
    }
  }
}
