import { type RunTotals, sumPartitions } from '../db/run-partitions-read.ts';
import { inTenant } from '../db/transaction.ts';
import { FluxError, toFluxError } from '../errors.ts';
import { type BatchStream, batchStream } from '../events/batches.ts';
import type { FollowDeps, FollowRequest } from '../events/follow.ts';
import { patiently } from '../events/patiently.ts';
import { pause } from '../events/pause.ts';
import { unknownRun } from '../events/read-after.ts';
import { joinWatch, membership, type Readers } from '../events/shared-watch.ts';
import { createWaker } from '../events/waker.ts';
import { progressOf, rateBetween, type RunProgress } from './progress.ts';
import { isFinalStatus } from './run.ts';

export type ProgressRequest = Omit<FollowRequest, 'afterSeq'> & {
  /** Most snapshots a second, 1 to 20. */
  maxPerSecond: number;
};

const defaultPollMs = 1_000;
const rateWindowMs = 10_000; // long enough to smooth over batches, short enough to show a stall

/** @throws INVALID_INPUT, NOT_FOUND */
export async function checkFollowProgress(
  { pool }: Pick<FollowDeps, 'pool'>,
  { sealed, runId, maxPerSecond }: Omit<ProgressRequest, 'signal'>,
): Promise<void> {
  if (!Number.isInteger(maxPerSecond) || maxPerSecond < 1 || maxPerSecond > 20) {
    throw new FluxError('INVALID_INPUT', `maxPerSecond is ${String(maxPerSecond)}; pass a whole number from 1 to 20.`);
  }
  await readTotals({ pool }, sealed(), runId);
}

/** @throws NOT_FOUND */
async function readTotals({ pool }: Pick<FollowDeps, 'pool'>, sealed: string, runId: string): Promise<RunTotals> {
  const [totals] = await inTenant(pool, sealed, (tx) => sumPartitions(tx, [runId]));
  if (totals) return totals;
  throw unknownRun(runId);
}

/**
 * Snapshots of a run's progress: the first at once, then the newest whenever something changed, at most `maxPerSecond`;
 * the last is that of the finished run. What lies between two snapshots is dropped: events are the record, this is the gauge.
 * All who see the same and ask for the same pace share one reading of it, and get the same objects.
 */
export function followProgress(deps: FollowDeps, request: ProgressRequest): BatchStream<RunProgress> {
  const { runId, sealed, viewer, maxPerSecond } = request;
  const key = viewer === undefined ? undefined : `progress ${runId} ${String(maxPerSecond)} ${viewer}`;
  let seen = 0;
  const member = membership(request.signal, (wake) =>
    joinWatch(deps, key, { sealed, wake }, (readers) => startGauge(deps, { runId, maxPerSecond }, readers)),
  );
  return batchStream<RunProgress>({
    async look() {
      const gauge = member.watch();
      while (gauge && !member.ended.aborted) {
        if (gauge.newest && gauge.count > seen) return [gauge.newest];
        if (gauge.failure) throw gauge.failure;
        if (gauge.over) member.close();
        else await member.woken();
      }
      return null;
    },
    take(items) {
      const taken = items.at(-1);
      const gauge = member.watch();
      // Of what came meanwhile only the newest will be looked at.
      if (taken) seen = gauge?.newest === taken ? gauge.count : seen + 1;
    },
    close: member.close,
  });
}

/** The newest snapshot, read for all who follow. */
interface Gauge {
  /** How many there were. */
  count: number;
  newest: RunProgress | undefined;
  /** There will be no further one. */
  over: boolean;
  failure: FluxError | undefined;
}

function startGauge(
  deps: FollowDeps,
  { runId, maxPerSecond }: Pick<ProgressRequest, 'runId' | 'maxPerSecond'>,
  readers: Readers,
): Gauge {
  const gauge: Gauge = { count: 0, newest: undefined, over: false, failure: undefined };
  const waker = createWaker(deps.hints, runId);
  const { signal } = readers;
  signal.addEventListener('abort', () => waker.release(), { once: true });
  const window = createRateWindow();
  let shown = '';

  const watch = async (): Promise<void> => {
    while (!signal.aborted) {
      waker.arm();
      const totals = await patiently(signal, () => readTotals(deps, readers.sealed(), runId));
      if (!totals) return;
      const over = isFinalStatus(totals.status);
      const progress = over ? progressOf(totals) : progressOf(totals, window.add(totals));
      const face = faceOf(progress);
      if (face !== shown) {
        shown = face;
        Object.assign(gauge, { count: gauge.count + 1, newest: progress });
        readers.wakeAll();
      }
      if (over) return;
      await pause(1_000 / maxPerSecond, signal);
      await waker.wait(deps.pollMs ?? defaultPollMs, signal);
    }
  };
  void watch()
    .catch((cause: unknown) => {
      gauge.failure = toFluxError(cause);
    })
    .finally(() => {
      waker.release();
      readers.over();
      gauge.over = true;
      readers.wakeAll();
    });
  return gauge;
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
