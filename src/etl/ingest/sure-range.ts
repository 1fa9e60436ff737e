import type { DuckDBDataChunk } from '@duckdb/node-api';
import type { DuckDbSession } from '../duckdb/session.ts';
import type { RowFile } from '../sure/copy-rows.ts';
import type { SureVectors } from '../sure/sure-vectors.ts';
import { type LeftColumn, LeftRows } from './left-rows.ts';

/** Where a larger share of a batch's records needs SQL, it takes them all. */
const leftShareMax = 0.1;

/** A batch whose surely good records stand in their file. */
export interface SureBatch {
  /** null: there are none. */
  rows: RowFile | null;
  /** A query that gives the other records. */
  relation: string;
  left: LeftRows;
}

/**
 * A range of a typed source, read by one query from its beginning to its end: to begin anew for each batch would cost as much as to judge a third of
 * it, since what is compressed together is of two batches.
 */
export class SureRange {
  readonly #session: DuckDbSession;
  readonly #sure: SureVectors;
  readonly #columns: readonly LeftColumn[];
  readonly #chunks: AsyncGenerator<DuckDBDataChunk, void>;
  /** A chunk may begin in one batch and end in the next. */
  #chunk: DuckDBDataChunk | null = null;
  #row = 0;

  /** @param query gives the record's number and then the columns that `sure` wants @param columns what the others are to be called */
  constructor(
    session: DuckDbSession,
    sure: SureVectors,
    { query, columns }: { query: string; columns: readonly LeftColumn[] },
  ) {
    this.#session = session;
    this.#sure = sure;
    this.#columns = columns;
    this.#chunks = session.chunks(query);
  }

  /** Lets go of the query, which holds memory that SQL may need. */
  async close(): Promise<void> {
    this.#chunk = null;
    await this.#chunks.return();
  }

  /** The next so many records. @returns null: they are all SQL's, and those behind them as well */
  async next(recordCount: number): Promise<SureBatch | null> {
    const left = new LeftRows(this.#session, this.#columns, recordCount * leftShareMax);
    try {
      if (await this.#take(recordCount, left)) {
        const relation = await left.relation();
        return { rows: this.#sure.rows.finish(), relation, left };
      }
    } catch {
      // Whatever it is, SQL meets it too, and names it.
      await left.release();
    }
    this.#sure.rows.close();
    return null;
  }

  /** @returns whether all of them were there, and few of them are left */
  async #take(recordCount: number, left: LeftRows): Promise<boolean> {
    for (let taken = 0; taken < recordCount;) {
      const chunk = await this.#nextChunk();
      if (chunk === null) return false;
      const from = this.#row;
      this.#row = Math.min(from + recordCount - taken, chunk.rowCount);
      left.add(chunk, this.#sure.take(chunk, from, this.#row), (column, row) => this.#sure.valueAt(column, row));
      if (left.isFull) return false;
      taken += this.#row - from;
    }
    return true;
  }

  async #nextChunk(): Promise<DuckDBDataChunk | null> {
    if (this.#chunk !== null && this.#row < this.#chunk.rowCount) return this.#chunk;
    const { value } = await this.#chunks.next();
    this.#chunk = value ?? null;
    this.#row = 0;
    return this.#chunk;
  }
}
