import { FluxError } from '../errors.ts';
import type { DuckDbSession } from './duckdb/session.ts';
import type { StepDeclaration } from './engine-types.ts';

/** @throws TRANSFORM_FAILED a record of `_flux_batch` could not be cast, by the first of them */
export async function refuseFailedCasts(
  session: DuckDbSession,
  states: ReadonlyMap<number, number>,
  steps: readonly StepDeclaration[],
): Promise<void> {
  const failed = [...states.keys()].find((state) => state < 0);
  if (failed === undefined) return;
  const [row] = await session.rows(`
    select _flux_record, _flux_found[1]
    from _flux_batch
    where _flux_state = ${failed}
    order by _flux_record
    limit 1`);
  const step = steps[-failed - 2]?.step ?? 'a cast';
  throw new FluxError(
    'TRANSFORM_FAILED',
    `Transform "${step}" cannot read ${JSON.stringify(row?.[1] ?? null)} of record ${String(row?.[0])} as its type. ` +
      'Let the contract refuse such values, or derive the column.',
    { details: { recordNo: Number(row?.[0]) } },
  );
}
