import { FluxError } from '../../errors.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import { ident, literal } from '../duckdb/sql-text.ts';
import type { Since } from '../engine-types.ts';
import type { RecordColumn } from './columns.ts';

/** `_flux_state` of a record that an earlier run has read; beyond those of all transforms. */
export const passedState = 1_000_000;

/** Which records lie at or below the mark of an earlier run: the others are new. */
export interface PassedOver {
  /** The cursor's column. */
  column: string;
  /** Condition over a typed record; null while there is no mark. */
  condition: string | null;
}

/**
 * @param describe the type of a column of typed records
 * @throws INVALID_INPUT the records have no such column, or the mark is no value of it
 */
export async function passedOver(
  session: DuckDbSession,
  { cursor, after }: Since,
  columns: readonly RecordColumn[],
  describe: (column: string) => Promise<string>,
): Promise<PassedOver> {
  const found = columns.find(({ field }) => field?.path.length === 1 && field.path[0] === cursor);
  if (!found) {
    const names = columns.map(({ original }) => original).join(', ');
    throw new FluxError(
      'INVALID_INPUT',
      `source.incremental names the cursor "${cursor}", which is no field of the contract. Fields: ${names}. Correct the pipeline.`,
    );
  }
  const column = found.name;
  if (after === null) return { column, condition: null };
  const type = await describe(column);
  const [read] = await session.rows(`select try_cast(${literal(after)} as ${type})::varchar`);
  if ((read?.[0] ?? null) === null) {
    throw new FluxError(
      'INVALID_INPUT',
      `The last run read up to "${after}", which is no ${type}, as "${cursor}" is now. Start a full run (full: true).`,
    );
  }
  return { column, condition: `${found.value} <= ${literal(after)}::${type}` };
}

/** The greater of a value and the greatest of the good records in `_flux_batch`; null while there is none. */
export async function newestOf(session: DuckDbSession, column: string, before: string | null): Promise<string | null> {
  const [described] = await session.describe(`select ${ident(column)} from _flux_batch`);
  const type = described?.type ?? 'varchar';
  const [row] = await session.rows(`
    select max(value)::varchar
    from (
      select ${ident(column)} as value from _flux_batch where _flux_state = 0
      union all select ${before === null ? 'null' : literal(before)}::${type}
    )`);
  const newest = row?.[0] ?? null;
  return typeof newest === 'string' ? newest : null;
}

/**
 * Whether a value of JSON surely lies at or below the mark: of records that are refused before SQL sees them. Where it is not sure the
 * record counts as new.
 */
export function surelyPassed(value: unknown, after: string): boolean {
  if (typeof value === 'number') {
    const mark = Number(after);
    return Number.isFinite(mark) && (Number.isSafeInteger(value) || !Number.isInteger(value)) && value <= mark;
  }
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\d([Tt ].*)?$/.test(value)) return false;
  const [one, other] = [millisecondsOf(value), millisecondsOf(after)];
  if (value.length === 10) return value <= after && after.length === 10 && Number.isFinite(one);
  // Within one millisecond the texts differ in digits that a Date does not keep.
  return one < other;
}

/** DuckDB writes a time as 2026-01-02 03:04:05.6+00. */
function millisecondsOf(text: string): number {
  const iso = text.toUpperCase().replace(' ', 'T').replace(/\+00$/, 'Z');
  return Date.parse(/(Z|[+-]\d\d:\d\d)$/.test(iso) || !iso.includes('T') ? iso : `${iso}Z`);
}
