import { rm, rmdir } from 'node:fs/promises';
import path from 'node:path';

import { type Claim, chargeTurn } from '../db/queue.ts';
import { isFluxError, toFluxError } from '../errors.ts';
import { keepLease } from '../queue/lease.ts';
import type { Ending } from './decide-ending.ts';
import { withHolder } from './holder.ts';
import { openWork } from './open-work.ts';
import { planRun } from './plan-run.ts';
import { publishRun } from './publish-run.ts';
import { runBatches } from './run-batches.ts';
import { settle } from './settle.ts';
import type { Outcome, Turn, Work, WorkerDeps } from './work.ts';

/**
 * Works one taking of a partition to its end. Never throws: the outcome says what happened.
 *
 *   completed   its last transaction committed
 *   released    the worker is stopping; what was committed stands, another worker goes on
 *   yielded     its turn was over and others waited; what was committed stands
 *   retried     a failure that passes by itself; free again after a delay
 *   failed      the run is FAILED
 *   cancelled   the run was asked to stop, and this partition has
 *   abandoned   the lease is lost, or nothing could be written any more: rescue and the next claim take care
 */
export async function executePartition(deps: WorkerDeps, claim: Claim, draining: AbortSignal): Promise<Outcome> {
  const lease = keepLease(deps.pool, claim, deps.config.times);
  const late = abortAfter(draining, deps.config.times.drainMs);
  const turn: Turn = { batches: 0, charged: 1 };
  try {
    const signals = { lost: lease.lost, late: late.signal, cancelled: lease.cancelled, draining };
    const ending = await attempt(deps, claim, signals, turn);
    if (ending === 'completed') return 'completed';
    if (lease.lost.aborted || isLost(ending)) return abandon(deps, claim, lease.lost.reason);
    return await withHolder(deps, claim, lease.lost, (holder) =>
      settle(deps, { claim, holder, lost: lease.lost }, ending),
    );
  } catch (cause) {
    return abandon(deps, claim, cause);
  } finally {
    lease.stop();
    late.clear();
    await charge(deps, claim, turn);
  }
}

/** That an account is not put right costs the other agencies a part of one turn. */
async function charge({ pool, log }: WorkerDeps, claim: Claim, { batches, charged }: Turn): Promise<void> {
  if (batches <= charged) return;
  const left = batches - charged;
  await chargeTurn(pool, claim, left).catch((err: unknown) => log.warn({ err }, 'a turn could not be charged'));
}

/** Aborts `ms` after another signal has. */
function abortAfter(first: AbortSignal, ms: number): { signal: AbortSignal; clear(): void } {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const begin = (): void => {
    timer = setTimeout(() => late.abort(), ms);
  };
  if (first.aborted) begin();
  else first.addEventListener('abort', begin, { once: true });
  return {
    signal: late.signal,
    clear() {
      first.removeEventListener('abort', begin);
      clearTimeout(timer);
    },
  };
}

interface Signals {
  lost: AbortSignal;
  cancelled: AbortSignal;
  /** The worker is to stop. */
  draining: AbortSignal;
  /** It has no time left to finish what it is at. */
  late: AbortSignal;
}

/** One try; a throw becomes an ending. */
async function attempt(
  deps: WorkerDeps,
  claim: Claim,
  { lost, cancelled, draining: closing, late }: Signals,
  turn: Turn,
): Promise<'completed' | Ending> {
  const draining = AbortSignal.any([late, cancelled]);
  try {
    return await withHolder(deps, claim, AbortSignal.any([lost, late]), async (holder) => {
      const work = await openWork(deps, { claim, holder, lost }, { draining, closing, turn });
      try {
        const ended = await runKind(work);
        return ended === 'completed' ? 'completed' : { kind: 'drained', yielded: ended === 'yielded' };
      } finally {
        await removeFolder(work.folder);
      }
    });
  } catch (cause) {
    // What was interrupted has committed whole batches, or nothing.
    if (late.aborted && !lost.aborted) return { kind: 'drained' };
    if ((closing.aborted || cancelled.aborted) && claim.kind === 'PLAN') return { kind: 'drained' };
    return { kind: 'failed', error: toFluxError(cause) };
  }
}

/** The run's own folder goes with its last partition on this machine. */
async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  await rmdir(path.dirname(folder)).catch(() => undefined);
}

async function runKind(work: Work): Promise<'completed' | 'drained' | 'yielded'> {
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
