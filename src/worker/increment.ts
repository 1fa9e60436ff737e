import { findCursorValue, hasLaterIncrement, type SourceObject } from '../db/source-objects.ts';
import { listRanges } from '../db/reprocessing.ts';
import type { Queryable } from '../db/pool.ts';
import type { StepTotal } from '../db/step-counts.ts';
import { FluxError } from '../errors.ts';
import type { Since } from '../etl/engine-types.ts';
import type { Work } from './work.ts';

/** Up to where the last completed run has read; null before it, and where everything is asked for. */
export async function lastMark(
  { holder, claim, run }: Work,
  connection: { name: string; version: bigint },
  cursor: string,
): Promise<string | null> {
  if (run.payload['full'] === true) return null;
  return findCursorValue(holder, { agencyId: claim.agencyId, pipelineName: run.pipelineName, connection, cursor });
}

/**
 * What of a pinned object is passed over, because an earlier run has read it; nothing of what a database gave, which was asked for no
 * more. A rerun passes over what the first run has passed over.
 */
export async function sinceOf(work: Work, object: SourceObject): Promise<{ since?: Since }> {
  const { definition, holder, claim, run } = work;
  const { incremental } = definition.source;
  if (!incremental || object.origin.startsWith('postgres://')) return {};
  const { cursor } = incremental;
  const [first] = run.rerunOf === null ? [] : await listRanges(holder, { ...claim, runId: run.rerunOf });
  const before = first?.['since'] as Since | undefined;
  if (before?.cursor === cursor) return { since: before };
  const { connectionName: name, connectionVersion: version = null } = object;
  return { since: { cursor, after: version === null ? null : await lastMark(work, { name, version }, cursor) } };
}

/** Records that an earlier run had read. */
export function passedOver(steps: readonly StepTotal[]): number {
  return steps
    .filter(({ stage, kind }) => stage === 'INGEST' && kind === 'filter')
    .reduce((sum, { recordsFiltered }) => sum + recordsFiltered, 0);
}

/**
 * A run that was planned before another, and ends after it, holds older rows than that one: by key they would come over the newer, and
 * no later run would read those again.
 *
 * @throws RUN_CONFLICT
 */
export async function requireNewest(tx: Queryable, { claim, run, definition }: Work): Promise<void> {
  const { incremental } = definition.source;
  if (!incremental || run.reprocessOf !== null || run.stage !== 'FULL') return;
  const later = await hasLaterIncrement(tx, claim, { pipelineName: run.pipelineName, cursor: incremental.cursor });
  if (later === null) return;
  throw new FluxError(
    'RUN_CONFLICT',
    `Run ${later} of ${run.pipelineName} began later, is completed, and has read what this run read, as it was then. Nothing was published, and ` +
      'nothing is missing; start a new run for what has come since.',
    { details: { runId: later } },
  );
}
