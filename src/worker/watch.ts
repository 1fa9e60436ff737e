import { rescuePartitions } from '../db/queue.ts';
import { endTornSessions, takeoverWaits } from '../db/takeover.ts';
import { forceCancels } from './force-cancels.ts';
import type { WorkerDeps, WorkerTimes } from './work.ts';

/**
 * What a worker looks for between its partitions, looked for beside the one that it works: holders that have gone, and cancels that
 * nobody has acknowledged. Without it the lease of a killed worker would wait, where all others are busy, for one of them to come to the
 * end of its quantum.
 *
 *   idle -> looking -> idle   every second while a partition is worked; one look at a time
 */
export interface Watch {
  /** Whether, at the last look, an abandoned partition could be taken. A hint: the claim decides. */
  readonly takeoverWaits: boolean;
  /** A partition is worked from here on. */
  begin(): void;
  /** The worker looks by itself again. */
  end(): void;
  /** Resolves when no look is under way. */
  stop(): Promise<void>;
}

export function startWatch(deps: WorkerDeps): Watch {
  const { watchMs } = deps.config.times;
  let waits = false;
  let working = false;
  let looking: Promise<void> | undefined;
  const timer = setInterval(() => {
    if (!working || looking) return;
    looking = lookBeside(deps)
      .then((found) => {
        waits = found && working;
      })
      .finally(() => {
        looking = undefined;
      });
  }, watchMs);
  return {
    get takeoverWaits() {
      return waits;
    },
    begin() {
      waits = false;
      working = true;
    },
    end() {
      waits = false;
      working = false;
    },
    async stop() {
      clearInterval(timer);
      await looking;
    },
  };
}

/** One look. Never throws. */
export async function lookBeside(deps: WorkerDeps): Promise<boolean> {
  try {
    await forceCancels(deps);
    await endLateHolders(deps);
    return await takeoverWaits(deps.pool);
  } catch (err) {
    deps.log.warn({ err }, 'abandoned partitions cannot be looked for now');
    return false;
  }
}

/** Ends the sessions of expired leases, and of our own that were torn: no timeout frees what a client that is frozen inside COPY has locked. */
export async function endLateHolders({ pool, log }: WorkerDeps): Promise<void> {
  // At once, because a claim waits for both.
  const [torn, ended] = await Promise.all([endTornSessions(pool), rescuePartitions(pool)]);
  if (torn > 0) log.warn({ torn }, 'ended sessions whose client had gone in the middle of a request');
  if (ended > 0) log.warn({ ended }, 'ended the sessions of expired leases');
}

/**
 * By when an abandoned partition is taken, counted from the last sign of life of its holder, milliseconds: its lease runs out, a worker
 * that is idle looks again (its poll), or one at work sees it (its watch) and gives way after the batch that it is at.
 *
 * @param batchMs the longest that the batch in hand takes; 0 where some worker is idle
 */
export function takeoverMs({ leaseMs, pollMs, watchMs }: WorkerTimes, batchMs = 0): number {
  return leaseMs + Math.max(pollMs, watchMs) + batchMs;
}
