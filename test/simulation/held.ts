import { FluxError } from '../../src/errors.ts';
import type { LeaseLife } from '../../src/queue/lease-life.ts';
import * as statements from './statements.ts';
import type { Taken } from './statements.ts';
import type { Session } from './storage.ts';
import { clockOf, inTransaction, type Life, type Process, type World } from './world.ts';

/** A taking: src/worker's Held and Work in one. */
export interface Held {
  world: World;
  process: Process;
  taken: Taken;
  session: Session;
  lease: { life: LeaseLife; given: boolean };
}

/** A drain, or a cancel that the heartbeat has brought. */
export function isStopping({ process, lease }: Held): boolean {
  return process.draining || lease.life.cancelRequested;
}

export function requireHeld({ taken }: Held, is: boolean): void {
  if (!is) throw new FluxError('LEASE_LOST', `Partition ${String(taken.partitionNo)} is not held any more.`);
}

/** src/worker/fenced.ts. */
export function* fenced<T>(held: Held, write: (session: Session) => Life<T>): Life<T> {
  const { world, process, taken, session, lease } = held;
  if (lease.life.lost !== null) throw new FluxError('LEASE_LOST', lease.life.lost);
  const fence = (): void => requireHeld(held, statements.lockLease(world.db, clockOf(world, process), session, taken));
  return yield* inTransaction(world, session, fence, () => write(session));
}
