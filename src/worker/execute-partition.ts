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
import { inSpan, type SpanOptions, SpanKind } from '../telemetry/tracing.ts';
import { settle } from './settle.ts';
import { takingLog } from './taking-log.ts';
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
export async function executePartition(given: WorkerDeps, claim: Claim, draining: AbortSignal): Promise<Outcome> {
  const turn: Turn = { batches: 0, charged: 1, traceId: null };
  const deps: WorkerDeps = { ...given, log: takingLog(given.log, claim, turn) };
  const startedAt = performance.now();
  const outcome = await worked(deps, claim, draining, turn);
  deps.log.info({ kind: claim.kind, outcome, ms: Math.round(performance.now() - startedAt) }, 'a partition was worked');
  return outcome;
}

async function worked(deps: WorkerDeps, claim: Claim, draining: AbortSignal, turn: Turn): Promise<Outcome> {
  const lease = keepLease(deps.pool, claim, deps.config.times);
  const late = abortAfter(draining, deps.config.times.drainMs);
  try {
    const signals = { lost: lease.lost, late: late.signal, cancelled: lease.cancelled, draining };
    const ending = await attempt(deps, claim, signals, turn);
    if (ending === 'completed') return 'completed';
    if (lease.lost.aborted || isLost(ending)) return await abandon(deps, lease.lost.reason);
    return await withHolder(deps, claim, lease.lost, (holder) =>
      settle(deps, { claim, holder, lost: lease.lost }, ending),
    );
  } catch (cause) {
    return await abandon(deps, cause);
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
  const since = Date.now();
  try {
    return await withHolder(deps, claim, AbortSignal.any([lost, late]), async (holder) => {
      const work = await openWork(deps, { claim, holder, lost }, { draining, closing, turn });
      try {
        const ended = await orDropped(
          late,
          inSpan(`partition.${claim.kind.toLowerCase()}`, takingOf(work, since), () => runKind(work)),
        );
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

/** The work's end, or the abort: a source that does not hear it must not keep the lease. Its session has ended, so it writes nothing. */
async function orDropped<T>(late: AbortSignal, work: Promise<T>): Promise<T> {
  let drop = (): void => undefined;
  const dropped = new Promise<never>((_resolve, reject) => {
    drop = () => reject(late.reason as Error);
    if (late.aborted) drop();
    else late.addEventListener('abort', drop, { once: true });
  });
  work.catch(() => undefined);
  dropped.catch(() => undefined);
  try {
    return await Promise.race([work, dropped]);
  } finally {
    late.removeEventListener('abort', drop);
  }
}

/** Part of the trace of the request that queued the run; a trace of its own where nothing traced that. */
function takingOf({ claim, run, deps }: Work, startTime: number): SpanOptions {
  const { traceId, traceSpan } = run;
  return {
    kind: SpanKind.CONSUMER,
    startTime,
    parent: traceId !== null && traceSpan !== null ? { traceId, spanId: traceSpan } : null,
    attributes: {
      'flux.run.id': claim.runId,
      'flux.agency': claim.agencyId,
      'flux.partition': claim.partitionNo,
      'flux.epoch': String(claim.epoch),
      'flux.attempt': run.attempt,
      'flux.stage': run.stage,
      'flux.worker': deps.config.id,
    },
  };
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

/** The partition still names the backend that worked it, which rescue ends: it must not work another meanwhile. */
async function abandon({ log, session }: WorkerDeps, cause: unknown): Promise<Outcome> {
  log.warn({ err: cause }, 'a partition is abandoned');
  await session?.end();
  return 'abandoned';
}
