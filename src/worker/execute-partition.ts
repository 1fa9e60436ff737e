import { rm, rmdir } from 'node:fs/promises';
import path from 'node:path';

import type { Claim } from '../db/queue.ts';
import { isFluxError, toFluxError } from '../errors.ts';
import { keepLease } from '../queue/lease.ts';
import { withHolder } from './holder.ts';
import { openWork } from './open-work.ts';
import { planRun } from './plan-run.ts';
import { publishRun } from './publish-run.ts';
import { runBatches } from './run-batches.ts';
import { type Ending, settle } from './settle.ts';
import type { Outcome, Work, WorkerDeps } from './work.ts';

/**
 * Works one taking of a partition to its end. Never throws: the outcome says what happened.
 *
 *   completed   its last transaction committed
 *   released    the worker is stopping; what was committed stands, another worker goes on
 *   retried     a failure that passes by itself; free again after a delay
 *   failed      the run is FAILED
 *   cancelled   the run was asked to stop, and this partition has
 *   abandoned   the lease is lost, or nothing could be written any more: rescue and the next claim take care
 */
export async function executePartition(deps: WorkerDeps, claim: Claim, draining: AbortSignal): Promise<Outcome> {
  const lease = keepLease(deps.pool, claim, deps.config.times);
  try {
    const stopping = AbortSignal.any([draining, lease.cancelled]);
    const ending = await attempt(deps, claim, lease.lost, stopping);
    if (ending === 'completed') return 'completed';
    if (lease.lost.aborted || isLost(ending)) return abandon(deps, claim, lease.lost.reason);
    return await withHolder(deps, claim, lease.lost, (holder) =>
      settle(deps, { claim, holder, lost: lease.lost }, ending),
    );
  } catch (cause) {
    return abandon(deps, claim, cause);
  } finally {
    lease.stop();
  }
}

/** One try; a throw becomes an ending. */
async function attempt(
  deps: WorkerDeps,
  claim: Claim,
  lost: AbortSignal,
  stopping: AbortSignal,
): Promise<'completed' | Ending> {
  try {
    return await withHolder(deps, claim, lost, async (holder) => {
      const work = await openWork(deps, { claim, holder, lost }, stopping);
      try {
        return (await runKind(work)) === 'drained' ? { kind: 'drained' } : 'completed';
      } finally {
        await removeFolder(work.folder);
      }
    });
  } catch (cause) {
    // A plan that was interrupted has written nothing.
    if (stopping.aborted && claim.kind === 'PLAN') return { kind: 'drained' };
    return { kind: 'failed', error: toFluxError(cause) };
  }
}

/** The run's own folder goes with its last partition on this machine. */
async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  await rmdir(path.dirname(folder)).catch(() => undefined);
}

async function runKind(work: Work): Promise<'completed' | 'drained'> {
  switch (work.claim.kind) {
    case 'PLAN':
      await planRun(work);
      return 'completed';
    case 'BATCHES':
      return runBatches(work);
    case 'PUBLISH':
      await publishRun(work);
      return 'completed';
  }
}

function isLost(ending: Ending): boolean {
  return ending.kind === 'failed' && isFluxError(ending.error, 'LEASE_LOST');
}

function abandon({ log }: WorkerDeps, claim: Claim, cause: unknown): Outcome {
  log.warn(
    { err: cause, runId: claim.runId, partition: claim.partitionNo, epoch: claim.epoch },
    'a partition is abandoned',
  );
  return 'abandoned';
}
