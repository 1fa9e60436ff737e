import type { DuckDBDataChunk, DuckDBValue } from '@duckdb/node-api';
import duckdb from '@duckdb/node-bindings';
import { letGo, vectorRowCountMax } from '../duckdb/vector-data.ts';
import type { OutputType } from '../engine-types.ts';
import type { RecordColumns } from '../ingest/columns.ts';
import { longBytes, nullBytes, putInteger, putNull, rowHeadBytes } from './copy-format.ts';
import type { CopyRows } from './copy-rows.ts';
import { readLongIntegers, type RowVerdicts, type VectorCells, vectorCells } from './vector-cells.ts';

/** Of each there are some 60 KB of arrays, and as much of its vector. */
const columnCountMax = 200;
/** Rows are written in groups that are not much larger. */
const writtenBytesMax = 1 << 17;

/** A column of the dataset, and where the source has it. */
interface SureColumn {
  /** Among the chunk's columns. */
  at: number;
  cells: VectorCells;
}

/**
 * Takes the records of a typed source that surely meet their contract from DuckDB's vectors to COPY: SQL would print them as text, which the
 * server has to parse again (bench/README.md).
 */
export class SureVectors {
  readonly rows: CopyRows;
  /** Of the source's columns, by their places in it, those that a chunk has behind the record's number. */
  readonly places: readonly number[];
  /** In the order of the dataset's; null: the source does not have it. */
  readonly #columns: readonly (SureColumn | null)[];
  /** Of each row, whatever is in it. */
  readonly #leastBytes: number;
  readonly #verdicts: RowVerdicts = {
    sure: new Uint8Array(vectorRowCountMax),
    bytes: new Int32Array(vectorRowCountMax),
  };
  /** Of the chunk's rows: the records' numbers. */
  readonly #numbers = new Float64Array(vectorRowCountMax);
  /** By the chunk's columns. */
  readonly #cellsAt: readonly (VectorCells | undefined)[];
  readonly #chosen = new Uint16Array(vectorRowCountMax);
  readonly #cursors = new Int32Array(vectorRowCountMax);

  private constructor(rows: CopyRows, places: readonly number[], columns: readonly (SureColumn | null)[]) {
    this.rows = rows;
    this.places = places;
    this.#columns = columns;
    // The record's number is a cell too, and a column that the source does not have is a null.
    this.#leastBytes = rowHeadBytes + longBytes + columns.filter((column) => column === null).length * nullBytes;
    const cellsAt: (VectorCells | undefined)[] = [];
    for (const column of columns) if (column !== null) cellsAt[column.at] = column.cells;
    this.#cellsAt = cellsAt;
  }

  /**
   * @param source names and DuckDB's types of its columns
   * @param to the columns that take them, and the rows
   * @returns null: of some column nothing is ever sure
   */
  static of(
    { columns, checkRecords }: RecordColumns,
    source: readonly { name: string; type: string }[],
    to: { types: readonly OutputType[]; rows: CopyRows },
  ): SureVectors | null {
    if (checkRecords || columns.length > columnCountMax) return null;
    const places: number[] = [];
    const found: (SureColumn | null)[] = [];
    for (const [index, { field }] of columns.entries()) {
      const [name, ...inner] = field?.path ?? [source[index]?.name ?? ''];
      const place = source.findIndex((column) => column.name === name);
      const own = source[place];
      if (own === undefined) {
        found.push(null);
        continue;
      }
      const cells =
        inner.length > 0 ? null : vectorCells({ field, type: own.type, output: to.types[index] as OutputType });
      if (cells === null) return null;
      found.push({ at: places.push(place), cells });
    }
    return new SureVectors(to.rows, places, found);
  }

  /** Writes those rows of a chunk's `[from, to)` that are surely good. @returns the other ones, by their places in it */
  take({ chunk, rowCount }: DuckDBDataChunk, from: number, to: number): number[] {
    const { sure, bytes } = this.#verdicts;
    sure.fill(1, 0, rowCount);
    bytes.fill(this.#leastBytes, 0, rowCount);
    for (const column of this.#columns)
      column?.cells.read(duckdb.data_chunk_get_vector(chunk, column.at), rowCount, this.#verdicts);
    const numbers = duckdb.vector_get_data(duckdb.data_chunk_get_vector(chunk, 0), rowCount * 8);
    readLongIntegers(numbers, this.#numbers);
    letGo(numbers);
    const left: number[] = [];
    let count = 0;
    let byteCount = 0;
    for (let row = from; row < to; row += 1) {
      if (sure[row] === 0) {
        left.push(row);
        continue;
      }
      if (byteCount >= writtenBytesMax) {
        this.#write(count, byteCount);
        count = 0;
        byteCount = 0;
      }
      this.#chosen[count++] = row;
      byteCount += bytes[row] as number;
    }
    if (count > 0) this.#write(count, byteCount);
    return left;
  }

  /** A value of the chunk that was taken last. undefined: it was not read. @param column of the chunk's */
  valueAt(column: number, row: number): DuckDBValue | undefined {
    return column === 0 ? BigInt(this.#numbers[row] as number) : this.#cellsAt[column]?.valueAt(row);
  }

  /** Writes the first of the chosen rows: column by column, which takes a third of the time of cell by cell. */
  #write(count: number, byteCount: number): void {
    const rows = this.#chosen.subarray(0, count);
    const [cursors, sizes] = [this.#cursors, this.#verdicts.bytes];
    const { view, bytes, start } = this.rows.reserve(count, byteCount);
    let next = start;
    // Of `for … of` an object for each row would be left behind here, which is most of what a batch leaves.
    for (let at = 0; at < count; at += 1) {
      const row = rows[at] as number;
      cursors[row] = next + rowHeadBytes + longBytes;
      next += sizes[row] as number;
    }
    const target = { rows, cursors, view, bytes };
    for (const column of this.#columns) {
      if (column !== null) column.cells.write(target);
      else for (const row of rows) cursors[row] = putNull(view, cursors[row] as number);
    }
    // Last, for what stands behind a row's last cell.
    next = start;
    for (let at = 0; at < count; at += 1) {
      const row = rows[at] as number;
      view.setInt16(next, this.#columns.length + 1);
      putInteger(view, next + rowHeadBytes, this.#numbers[row] as number);
      next += sizes[row] as number;
    }
  }
}
