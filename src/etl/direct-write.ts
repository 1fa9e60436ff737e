import { literal } from './duckdb/sql-text.ts';
import type { DuckDbSession, ScalarFunction } from './duckdb/session.ts';

/** A record that SQL refused: its number, each rule's verdict, each cell, and its text where the source has none of its own. */
export type RefusedRow = readonly [
  record: number,
  broken: readonly boolean[],
  found: readonly (string | null)[],
  raw: string | null,
];

/** What a write has done. */
export interface Written {
  /** Rows by `_flux_state`. */
  states: Map<number, number>;
  /** Those of state 1. */
  refused: RefusedRow[];
}

const refuse = '_flux_refuse';
/** JSON escapes it; what is no JSON comes last. */
const separator = '\x1f';
/** What there is to tell of a record, in one text: each that a function is given, and each column of a row, costs a call of its own. */
const told = `concat_ws(${literal(separator)}, _flux_state, _flux_record, coalesce(_flux_broken::varchar, '[]'),
  coalesce(to_json(_flux_found)::varchar, '[]'), coalesce(_flux_raw, ''))`;
/** A limit that is never reached keeps the filter above the verdict; pushed below it, every expression would be computed twice. */
const everything = '9223372036854775807';

/**
 * Writes the good records of a batch in the one pass in which they are read and judged. DuckDB's COPY has one output, so the others are
 * told of by a function that the filter calls for them alone. To keep them all in a table first, and to read it three times, costs a
 * quarter of a batch's time and most of its memory.
 */
export class DirectWrite {
  #states = new Map<number, number>();
  #refused: RefusedRow[] = [];
  #someLeftAreGood = false;
  /** To be known to the session. */
  readonly function: ScalarFunction = {
    name: refuse,
    parameters: 1,
    call: ([text = '']) => {
      this.#take(text);
      return '';
    },
  };

  /**
   * @param records a query that gives `_flux_record _flux_state _flux_broken _flux_found _flux_raw` and the columns
   * @param to the columns to write, COPY's target with its options, and whether these are the records that others have left, of which hardly one
   *   is good
   */
  async write(
    session: DuckDbSession,
    records: string,
    to: { columns: string; target: string; areLeft: boolean },
  ): Promise<Written> {
    const refused = to.areLeft && !this.#someLeftAreGood ? await this.#refuseAll(session, records) : null;
    return refused ?? this.#writeGood(session, records, to);
  }

  /** @returns null: one of them is good, and has to be written */
  async #refuseAll(session: DuckDbSession, records: string): Promise<Written | null> {
    this.#begin();
    for (const [text] of await session.rowsAgain(`select ${told} from (${records})`)) this.#take(String(text));
    // Where one is, others will be: they are not judged twice again.
    this.#someLeftAreGood = this.#states.has(0);
    return this.#someLeftAreGood ? null : { states: this.#states, refused: this.#refused };
  }

  async #writeGood(session: DuckDbSession, records: string, to: { columns: string; target: string }): Promise<Written> {
    this.#begin();
    const [row] = await session.rows(`
      copy (
        select ${to.columns}
        from (${records} limit ${everything})
        where case when _flux_state = 0 then true else ${refuse}(${told}) is null end
      ) to ${to.target}`);
    const written = Number(row?.[0] ?? 0);
    if (written > 0) this.#states.set(0, written);
    return { states: this.#states, refused: this.#refused };
  }

  #begin(): void {
    this.#states = new Map();
    this.#refused = [];
  }

  #take(text: string): void {
    const [state = '', record, broken = '', found = '', ...raw] = text.split(separator);
    this.#states.set(Number(state), (this.#states.get(Number(state)) ?? 0) + 1);
    if (state !== '1') return;
    this.#refused.push([
      Number(record),
      JSON.parse(broken) as boolean[],
      JSON.parse(found) as (string | null)[],
      raw.join(separator) || null,
    ]);
  }
}
