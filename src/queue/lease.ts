import { type Claim, heartbeat } from '../db/queue.ts';
import type { Queryable } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import { leaseAnswered, leaseDue, type LeaseLife, leaseTaken, type LeaseTimes } from './lease-life.ts';

export type { LeaseTimes } from './lease-life.ts';

/**
 * The hold on a partition. It is held, then lost or given up, and never held again:
 *
 *   held -> lost      lease-life.ts says when
 *   held -> given up  stop()
 *
 * Our clock can only end it earlier than the database's, which decides on every write.
 */
export interface Lease {
  /** Aborts, with LEASE_LOST as its reason, when the lease is lost. */
  readonly lost: AbortSignal;
  /** Aborts when somebody asked the run to stop. The lease is held on until the partition is settled. */
  readonly cancelled: AbortSignal;
  /** Stops the heartbeat. The lease stands until it runs out or the partition is settled. */
  stop(): void;
}

/** Keeps a claim alive. @param db a pool of flux_worker, so that a beat never waits behind a batch */
export function keepLease(db: Queryable, claim: Claim, times: LeaseTimes): Lease {
  const lost = new AbortController();
  const cancelled = new AbortController();
  let life = leaseTaken(performance.now());
  let beating = false;
  let stopped = false;

  const become = (next: LeaseLife): void => {
    if (stopped) return;
    life = next;
    if (life.cancelRequested) cancelled.abort();
    if (life.lost === null) return;
    stop();
    lost.abort(
      new FluxError(
        'LEASE_LOST',
        `The lease of partition ${String(claim.partitionNo)} is lost: ${life.lost}. Nothing more is written.`,
        { details: { runId: claim.runId } },
      ),
    );
  };
  const beat = async (): Promise<void> => {
    const sentAt = performance.now();
    try {
      become(leaseAnswered(life, sentAt, await heartbeat(db, claim, times.leaseMs)));
    } catch {
      // The database may be back for the next beat; leaseDue() counts the silence.
    }
  };
  const tick = (): void => {
    become(leaseDue(life, performance.now(), times));
    if (beating || stopped) return;
    beating = true;
    void beat().finally(() => (beating = false));
  };
  const stop = (): void => {
    stopped = true;
    clearInterval(timer);
  };
  const timer = setInterval(tick, times.heartbeatMs);
  return { lost: lost.signal, cancelled: cancelled.signal, stop };
}
