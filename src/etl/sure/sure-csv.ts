import type { RecordColumns } from '../ingest/columns.ts';
import type { CsvSplitter } from '../ingest/csv-splitter.ts';
import { SureRows } from './sure-rows.ts';
import { type SureCheck, sureValue } from './sure-value.ts';

/** A column of the dataset. */
interface SureColumn {
  /** Which of the record's fields it is; -1: none. */
  field: number;
  mayBeEmpty: boolean;
  /** null: every text will do. */
  check: SureCheck | null;
}

interface SureDialect {
  fieldCount: number;
  delimiter: string;
  /** null: there are none. */
  quote: string | null;
}

/**
 * Takes the records of delimited text that surely meet their contract from the splitter to COPY, without DuckDB: nearly all records are
 * written plainly, and to say so of one costs a third of having them read, judged and printed again.
 */
export class SureCsv {
  readonly rows = new SureRows();
  readonly #columns: readonly SureColumn[];
  /** The row is the record as it stands. */
  readonly #whole: boolean;
  /** A comma, or COPY's quote, may be text of a record in which the splitter finds no quotes: they are those of another dialect. */
  readonly #foreign: boolean;
  readonly #fieldCount: number;

  private constructor(columns: readonly SureColumn[], { fieldCount, delimiter, quote }: SureDialect) {
    this.#columns = columns;
    this.#fieldCount = fieldCount;
    this.#foreign = delimiter !== ',' || quote !== '"';
    this.#whole = !this.#foreign && columns.length === fieldCount && columns.every(({ field }, at) => field === at);
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
    const sure: SureColumn[] = [];
    for (const [at, { field }] of columns.entries()) {
      const check = field === null ? null : sureValue(field);
      if (field !== null && check === null) return null;
      sure.push({ field: places[at] ?? -1, mayBeEmpty: field === null || !field.required || field.nullAllowed, check });
    }
    return new SureCsv(sure, dialect);
  }

  /** @param splitter at a plain record with as many fields as there are. @returns whether the row is written */
  take(recordNo: number, { buffer, start, end, delimiters }: CsvSplitter): boolean {
    for (const { field, mayBeEmpty, check } of this.#columns) {
      if (field === -1) continue;
      const from = field === 0 ? start : (delimiters[field - 1] as number) + 1;
      const to = this.#fieldEnd(delimiters, field, end);
      if (from === to ? !mayBeEmpty : check !== null && !check(buffer, from, to)) return this.#leave(recordNo);
    }
    const { rows } = this;
    rows.begin(recordNo, end - start + this.#columns.length);
    if (this.#whole) {
      rows.separate();
      rows.addPlain(buffer, start, end);
      rows.end();
      return true;
    }
    for (const { field } of this.#columns) {
      rows.separate();
      if (field === -1) continue;
      const from = field === 0 ? start : (delimiters[field - 1] as number) + 1;
      const to = this.#fieldEnd(delimiters, field, end);
      if (this.#foreign && mustBeQuoted(buffer, from, to)) {
        rows.takeBack();
        return this.#leave(recordNo);
      }
      rows.addPlain(buffer, from, to);
    }
    rows.end();
    return true;
  }

  #leave(recordNo: number): false {
    this.rows.leave(recordNo);
    return false;
  }

  #fieldEnd(delimiters: Int32Array, field: number, end: number): number {
    return field === this.#fieldCount - 1 ? end : (delimiters[field] as number);
  }
}

/** Whether COPY would read the text as something else. */
function mustBeQuoted(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) if (bytes[at] === 44 || bytes[at] === 34) return true;
  return false;
}
