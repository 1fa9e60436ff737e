import * as backfills from '../db/backfills.ts';
import type { Backfill, BackfillDate } from '../db/backfills.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { DomainDeps } from './caller.ts';
import { startDatedRun } from './start-dated-run.ts';

/** The key under which a date's run is started: `startRun` with it gives the same run. */
export function dateKey({ backfillId, date, attempt }: Pick<BackfillDate, 'backfillId' | 'date' | 'attempt'>): string {
  return `backfill/${backfillId}/${date}/${String(attempt)}`;
}

/**
 * Brings a backfill on, as its agency, in the caller's transaction: takes over how its runs ended, starts as many of the next
 * dates as its concurrency allows, and ends it with its last run.
 *
 * @returns ids of the runs that were started
 */
export async function advanceBackfill(
  deps: Pick<DomainDeps, 'keys'>,
  tx: Connection,
  { agencyId, id }: { agencyId: string; id: string },
): Promise<string[]> {
  const backfill = await backfills.takeBackfill(tx, id);
  if (!backfill) return [];
  await backfills.requeueBackfill(tx, id);
  await backfills.settleDates(tx, id);
  const { running } = await backfills.countDates(tx, id);
  const started: string[] = [];
  if (backfill.status === 'RUNNING') {
    for (const date of await backfills.nextDates(tx, id, Math.max(0, backfill.concurrency - running))) {
      const runId = await startDate(deps, tx, agencyId, backfill, date);
      if (runId !== null) started.push(runId);
    }
  }
  const counts = await backfills.countDates(tx, id);
  if (counts.pending + counts.running === 0) {
    const ended =
      backfill.status === 'CANCELLING'
        ? 'CANCELLED'
        : counts.failed > 0
          ? 'FAILED'
          : counts.cancelled > 0
            ? 'CANCELLED'
            : 'COMPLETED';
    await backfills.setBackfillStatus(tx, id, ended);
  }
  return started;
}

async function startDate(
  deps: Pick<DomainDeps, 'keys'>,
  tx: Connection,
  agencyId: string,
  backfill: Backfill,
  date: BackfillDate,
): Promise<string | null> {
  try {
    const runId = await startDatedRun(deps, tx, {
      agencyId,
      actor: `backfill:${backfill.id}`,
      reason: `${date.date} of a backfill that ${backfill.requestedBy} asked for.`,
      pipelineName: backfill.pipelineName,
      classification: backfill.classification,
      priority: backfill.priority,
      source: backfill.source,
      metadata: { ...backfill.metadata, backfill: backfill.id },
      date: date.date,
      idempotencyKey: dateKey(date),
    });
    await backfills.setDate(tx, date, { status: 'RUNNING', runId, message: null });
    return runId;
  } catch (cause) {
    if (!(cause instanceof FluxError) || cause.retryable || cause.code === 'INTERNAL') throw cause;
    await backfills.setDate(tx, date, { status: 'FAILED', runId: null, message: `${cause.code}: ${cause.message}` });
    return null;
  }
}
