import { appendAudit } from '../audit/append.ts';
import { finishPartition, lockRun } from '../db/partitions.ts';
import type { Connection } from '../db/pool.ts';
import { countOpenPartitions } from '../db/run-control.ts';
import { findRun } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import { appendEvents, type NewRunEvent } from '../events/append.ts';
import { metrics } from '../telemetry/metrics.ts';
import { fenced, requireHeld } from './fenced.ts';
import type { Held, Outcome, WorkerDeps } from './work.ts';

/**
 * Ends our partition of a run that does not go on. When the run was asked to stop this is the acknowledgement, after which the
 * fence lets no row of it commit; the last one ends the run.
 */
export async function stopBeside(deps: WorkerDeps, held: Held): Promise<Outcome> {
  const { claim } = held;
  let ended = false;
  const outcome = await fenced(held, async (tx) => {
    requireHeld(claim, await finishPartition(tx, claim, 'CANCELLED'));
    await lockRun(tx, claim); // so that of two that acknowledge at once the second sees the first
    const run = await findRun(tx, claim.runId);
    if (run?.status === 'PENDING' || run?.status === 'IN_PROGRESS') {
      throw new FluxError('INTERNAL', `Run ${claim.runId} is ${run.status} and refused an event.`);
    }
    if (run?.status !== 'CANCELLING') return 'abandoned';
    ended = await acknowledge(tx, deps, held, run.traceId);
    return 'cancelled';
  });
  if (ended) metrics.runs.inc({ status: 'CANCELLED' });
  deps.announcer.run(claim.runId);
  return outcome;
}

/** @returns whether that was the last, and the run is over */
async function acknowledge(
  tx: Connection,
  deps: WorkerDeps,
  { claim }: Held,
  traceId: string | null,
): Promise<boolean> {
  const partition = claim.partitionNo;
  const waitingFor = await countOpenPartitions(tx, claim);
  const data = { partition, epoch: claim.epoch, worker: deps.config.id, waitingFor };
  await appendAudit(tx, {
    actor: `worker:${deps.config.id}`,
    role: 'worker',
    action: 'run.cancel.acknowledge',
    resourceType: 'run',
    resourceId: claim.runId,
    success: true,
    after: data,
    traceId,
  });
  const acknowledged: NewRunEvent = {
    name: 'CancelAcknowledged',
    message: `Partition ${String(partition)} has stopped; nothing more of it commits.`,
    partitionNo: partition,
    data,
  };
  if (waitingFor > 0) {
    await appendEvents(tx, claim, [acknowledged], { from: ['CANCELLING'], to: 'CANCELLING' });
    return false;
  }
  const ended: NewRunEvent = {
    name: 'RunCancelled',
    message: 'Cancelled: every worker has acknowledged.',
    data: { forced: false },
  };
  await appendEvents(tx, claim, [acknowledged, ended], { from: ['CANCELLING'], to: 'CANCELLED', finishes: true });
  return true;
}
