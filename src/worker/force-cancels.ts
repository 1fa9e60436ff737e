import { appendAudit } from '../audit/append.ts';
import type { Connection } from '../db/pool.ts';
import {
  cancelAllPartitions,
  endHolders,
  lockRunPartitions,
  type OverdueCancel,
  overdueCancels,
} from '../db/run-control.ts';
import { findRun } from '../db/runs.ts';
import { inTransaction } from '../db/transaction.ts';
import { isFluxError } from '../errors.ts';
import { appendEvents } from '../events/append.ts';
import { metrics } from '../telemetry/metrics.ts';
import { withAgencySession } from './holder.ts';
import type { WorkerDeps } from './work.ts';

/** Ends the runs whose workers did not acknowledge a cancel in time. Any worker does it; one that comes second finds it done. */
export async function forceCancels(deps: WorkerDeps): Promise<void> {
  for (const overdue of await overdueCancels(deps.pool)) {
    try {
      await withAgencySession(deps, overdue, (session) => force(deps, session, overdue));
      deps.announcer.run(overdue.runId);
    } catch (err) {
      // One run that cannot be ended now must not keep this worker from its other work; the next look tries again.
      deps.log.warn({ err, runId: overdue.runId }, 'a cancel could not be forced');
    }
  }
}

async function force(deps: WorkerDeps, session: Connection, run: OverdueCancel): Promise<void> {
  try {
    const ended = await endHolders(session, run);
    await inTransaction(session, async (tx) => {
      await lockRunPartitions(tx, run, { exclusive: true });
      const unacknowledged = await cancelAllPartitions(tx, run);
      const data = { forced: true, unacknowledged };
      await appendAudit(tx, {
        actor: `worker:${deps.config.id}`,
        role: 'worker',
        action: 'run.cancel.force',
        resourceType: 'run',
        resourceId: run.runId,
        success: true,
        after: { ...data, endedSessions: ended },
        traceId: (await findRun(tx, run.runId))?.traceId ?? null,
      });
      const message =
        `Cancelled by force: ${String(unacknowledged.length)} of its partitions did not acknowledge in time. ` +
        'Their workers have lost them and commit nothing more.';
      await appendEvents(tx, run, [{ name: 'RunCancelled', message, data }], {
        from: ['CANCELLING'],
        to: 'CANCELLED',
        finishes: true,
      });
    });
    metrics.runs.inc({ status: 'CANCELLED' });
    deps.log.warn({ runId: run.runId, ended }, 'a cancel was forced');
  } catch (cause) {
    if (!isFluxError(cause, 'INVALID_TRANSITION')) throw cause; // another worker was faster
  }
}
