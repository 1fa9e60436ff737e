import { type RunTotals, sumPartitions } from '../db/run-partitions-read.ts';
import { inTenant } from '../db/transaction.ts';
import { FluxError, toFluxError } from '../errors.ts';
import type { FollowDeps, FollowRequest } from '../events/follow.ts';
import { pause } from '../events/pause.ts';
import { unknownRun } from '../events/read-after.ts';
import { abortable } from '../events/stream.ts';
import { createWaker } from '../events/waker.ts';
import { progressOf, rateBetween, type RunProgress } from './progress.ts';
import { isFinalStatus } from './run.ts';

export type ProgressRequest = Omit<FollowRequest, 'afterSeq'> & {
  /** Most snapshots a second, 1 to 20. */
  maxPerSecond: number;
};

const defaultPollMs = 1_000;
const retryMs = 1_000;
const rateWindowMs = 10_000; // long enough to smooth over batches, short enough to show a stall

/** @throws INVALID_INPUT, NOT_FOUND */
export async function checkFollowProgress(
  { pool }: Pick<FollowDeps, 'pool'>,
  { sealed, runId, maxPerSecond }: Omit<ProgressRequest, 'signal'>,
): Promise<void> {
  if (!Number.isInteger(maxPerSecond) || maxPerSecond < 1 || maxPerSecond > 20) {
    throw new FluxError('INVALID_INPUT', `maxPerSecond is ${String(maxPerSecond)}; pass a whole number from 1 to 20.`);
  }
  const [totals] = await inTenant(pool, sealed(), (tx) => sumPartitions(tx, [runId]));
  if (!totals) throw unknownRun(runId);
}

/**
 * Snapshots of a run's progress: the first at once, then the newest whenever something changed, at most `maxPerSecond`;
 * the last is that of the finished run. What lies between two snapshots is dropped: events are the record, this is the gauge.
 */
export function followProgress(
  deps: FollowDeps,
  request: ProgressRequest,
): AsyncIterableIterator<RunProgress, void, void> {
  return abortable((signal) => watch(deps, { ...request, signal }), request.signal);
}

async function* watch(deps: FollowDeps, request: ProgressRequest): AsyncGenerator<RunProgress, void, void> {
  const { signal } = request;
  const waker = createWaker(deps.hints, request.runId);
  const window = createRateWindow();
  let shown = '';
  try {
    while (!signal.aborted) {
      waker.arm();
      const totals = await readPatiently(deps, request);
      if (!totals) return;
      const over = isFinalStatus(totals.status);
      const progress = over ? progressOf(totals) : progressOf(totals, window.add(totals));
      const face = faceOf(progress);
      if (face !== shown) {
        shown = face;
        yield progress;
      }
      if (over) return;
      await pause(1_000 / request.maxPerSecond, signal);
      await waker.wait(deps.pollMs ?? defaultPollMs, signal);
    }
  } finally {
    waker.release();
  }
}

async function readPatiently(deps: FollowDeps, request: ProgressRequest): Promise<RunTotals | undefined> {
  const { sealed, runId, signal } = request;
  while (!signal.aborted) {
    try {
      const [totals] = await inTenant(deps.pool, sealed(), (tx) => sumPartitions(tx, [runId]));
      if (totals) return totals;
      throw unknownRun(runId);
    } catch (cause) {
      const error = toFluxError(cause);
      if (!error.retryable) throw error;
      await pause(retryMs, signal);
    }
  }
  return undefined;
}

/** What makes a snapshot worth sending: everything but the times that move by themselves. */
function faceOf({ updatedAt: _updatedAt, etaAt: _etaAt, ...rest }: RunProgress): string {
  return JSON.stringify(rest, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

/** Records a second over the last ten seconds, by the database's clock; the run's average until there are two samples. */
export function createRateWindow(): { add(totals: RunTotals): number | null } {
  const samples: { at: number; read: bigint }[] = [];
  return {
    add(totals) {
      const at = totals.readAt.getTime();
      samples.push({ at, read: totals.recordsRead });
      // One sample older than the window stays, so that the rate spans all of it.
      while (samples.length > 2 && (samples[1]?.at ?? at) <= at - rateWindowMs) samples.shift();
      const oldest = samples[0];
      if (!oldest || samples.length < 2) return totals.recordsRead === 0n ? null : progressOf(totals).ratePerSecond;
      return rateBetween(oldest.read, totals.recordsRead, at - oldest.at);
    },
  };
}
