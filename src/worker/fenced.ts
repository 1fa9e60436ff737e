import { lockLease } from '../db/partitions.ts';
import type { Connection } from '../db/pool.ts';
import type { Claim } from '../db/queue.ts';
import { inTransaction } from '../db/transaction.ts';
import { FluxError } from '../errors.ts';
import type { Held } from './work.ts';

/**
 * The only way in which a worker writes for a partition: one transaction that begins by locking the lease at our epoch. A
 * holder whose lease is gone writes nothing. `write` takes the run's row lock last.
 *
 * @throws LEASE_LOST before anything was written
 */
export async function fenced<T>({ holder, claim, lost }: Held, write: (tx: Connection) => Promise<T>): Promise<T> {
  lost.throwIfAborted();
  return inTransaction(holder, write, async (tx) => requireHeld(claim, await lockLease(tx, claim)));
}

/** Every update of our partition names its epoch; one that found no row has found us dispossessed. */
export function requireHeld(claim: Claim, held: boolean): void {
  if (held) return;
  throw new FluxError(
    'LEASE_LOST',
    `Partition ${String(claim.partitionNo)} is not held at epoch ${String(claim.epoch)} any more. Nothing was written.`,
    { details: { runId: claim.runId } },
  );
}
