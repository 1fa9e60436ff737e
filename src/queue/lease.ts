import { type Claim, heartbeat } from '../db/queue.ts';
import type { Queryable } from '../db/pool.ts';
import { FluxError } from '../errors.ts';

/** Lease 5 s, heartbeat 1.5 s: two beats may be lost, and a takeover begins within two leases. */
export interface LeaseTimes {
  leaseMs: number;
  heartbeatMs: number;
}

/**
 * The hold on a partition. It is held, then lost or given up, and never held again:
 *
 *   held -> lost      the database says so, or no beat got through for a whole lease by our own clock
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
  let heldAt = performance.now();
  let beating = false;
  let stopped = false;

  const lose = (why: string): void => {
    if (stopped) return;
    lost.abort(
      new FluxError(
        'LEASE_LOST',
        `The lease of partition ${String(claim.partitionNo)} is lost: ${why}. Nothing more is written.`,
        {
          details: { runId: claim.runId },
        },
      ),
    );
    stop();
  };
  const beat = async (): Promise<void> => {
    const sentAt = performance.now();
    try {
      const { held, cancelRequested } = await heartbeat(db, claim, times.leaseMs);
      if (!held) return lose('another worker took it, or its run is over');
      heldAt = sentAt;
      if (cancelRequested) cancelled.abort();
    } catch {
      // The database may be back for the next beat; overdue() counts the silence.
    }
  };
  const tick = (): void => {
    if (performance.now() - heldAt >= times.leaseMs) return lose('no heartbeat got through in time');
    if (beating) return;
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
