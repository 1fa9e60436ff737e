import type { DuckDBDataChunk, DuckDBType, DuckDBValue } from '@duckdb/node-api';
import type { DuckDbSession } from '../duckdb/session.ts';

const table = '_flux_left';
/** Of texts: what a batch keeps beside its chunks. */
const textLengthMax = 4_194_304;

/** A column of the rows. */
export interface LeftColumn {
  /** An identifier of SQL. */
  name: string;
  /** DuckDB's. */
  type: string;
}

/**
 * Rows of chunks that are to be looked at again, by SQL: a table of their own. To read them from their source once more would take longer, since
 * they stand all over it.
 */
export class LeftRows {
  readonly #session: DuckDbSession;
  readonly #columns: readonly LeftColumn[];
  readonly #countMax: number;
  readonly #values: DuckDBValue[][];
  #types: DuckDBType[] = [];
  #textLength = 0;
  #isOpen = false;

  /** @param countMax rows beyond which it would have been better to look at none of them twice */
  constructor(session: DuckDbSession, columns: readonly LeftColumn[], countMax: number) {
    this.#session = session;
    this.#columns = columns;
    this.#countMax = countMax;
    this.#values = columns.map(() => []);
  }

  get count(): number {
    return this.#values[0]?.length ?? 0;
  }

  /** They are too many, or too long. */
  get isFull(): boolean {
    return this.count > this.#countMax || this.#textLength > textLengthMax;
  }

  /**
   * Takes some rows of a chunk with the same columns.
   *
   * @param valueAt a value as it was read already; undefined: it was not
   */
  add(
    chunk: DuckDBDataChunk,
    rows: readonly number[],
    valueAt: (column: number, row: number) => DuckDBValue | undefined,
  ): void {
    if (rows.length === 0) return;
    if (this.#types.length === 0) this.#types = this.#columns.map((_column, at) => chunk.getColumnVector(at).type);
    for (const [at, values] of this.#values.entries()) {
      for (const row of rows) {
        const known = valueAt(at, row);
        const value = known === undefined ? chunk.getColumnVector(at).getItem(row) : known;
        if (typeof value === 'string') this.#textLength += value.length;
        values.push(value);
      }
    }
  }

  /**
   * Puts them into their table, in a transaction that `release` takes back: the table stays as it is, so that a query over it needs no new plan,
   * and what was in it leaves nothing behind.
   *
   * @returns a query that gives them
   */
  async relation(): Promise<string> {
    const columns = this.#columns.map(({ name, type }) => `${name} ${type}`);
    await this.#session.run(`create temp table if not exists ${table} (${columns.join(', ')})`);
    if (this.count > 0) {
      await this.#session.run('begin transaction');
      this.#isOpen = true;
      await this.#session.append(table, this.#types, this.#values);
    }
    return `select * from ${table}`;
  }

  async release(): Promise<void> {
    if (this.#isOpen) await this.#session.run('rollback');
    this.#isOpen = false;
  }
}
