/** Lease 5 s, heartbeat 1.5 s: two beats may be lost, and a takeover begins within two leases. */
export interface LeaseTimes {
  leaseMs: number;
  heartbeatMs: number;
}

/**
 * The holder's side of a lease as a value, without clock, timer or database: keepLease() drives it with the real ones,
 * test/simulation with made ones.
 *
 *   held -> lost   the database says so, or no beat got through for a whole lease by the holder's own clock
 */
export interface LeaseLife {
  /** When the last beat was sent that the database has confirmed; milliseconds of the holder's monotonic clock. */
  readonly heldAt: number;
  readonly cancelRequested: boolean;
  /** Why it is lost, as a clause; null while it is held. Final. */
  readonly lost: string | null;
}

export function leaseTaken(now: number): LeaseLife {
  return { heldAt: now, cancelRequested: false, lost: null };
}

/** At every beat's time, also while the answer to the one before is still out: a whole lease of silence ends it. */
export function leaseDue(lease: LeaseLife, now: number, { leaseMs }: Pick<LeaseTimes, 'leaseMs'>): LeaseLife {
  if (lease.lost !== null || now - lease.heldAt < leaseMs) return lease;
  return { ...lease, lost: 'no heartbeat got through in time' };
}

/** After the database's answer to a beat. It counts from when the beat was sent: the answer may have been long on its way. */
export function leaseAnswered(
  lease: LeaseLife,
  sentAt: number,
  { held, cancelRequested }: { held: boolean; cancelRequested: boolean },
): LeaseLife {
  if (lease.lost !== null) return lease;
  if (!held) return { ...lease, lost: 'another worker took it, or its run is over' };
  return { heldAt: sentAt, cancelRequested: lease.cancelRequested || cancelRequested, lost: null };
}
