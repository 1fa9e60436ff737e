import { cancelStatement } from '../db/cancel.ts';
import { limitWaits, recordHolder } from '../db/partitions.ts';
import type { Connection } from '../db/pool.ts';
import type { Claim } from '../db/queue.ts';
import { commitUnderWay } from '../db/transaction.ts';
import { requireHeld } from './fenced.ts';
import { endSession, openSession } from './sessions.ts';
import { within } from './within.ts';
import type { WorkerDeps } from './work.ts';

/** The answer to a COMMIT is on its way, or its server is frozen. */
const commitMs = 2_000;

/**
 * Lends a session of the partition's agency, the one before if it was the same agency's, and records its backend so that rescue can
 * end it. When the lease is lost the session ends at once, whatever it is doing, on the server too; only the answer to a COMMIT is
 * waited for, and not for long. It ends as well when `use` throws.
 *
 * @throws LEASE_LOST the partition is not ours any more
 * @throws UNAVAILABLE the server does not answer
 */
export async function withHolder<T>(
  deps: WorkerDeps,
  claim: Claim,
  lost: AbortSignal,
  use: (holder: Connection) => Promise<T>,
): Promise<T> {
  const holder = (await deps.session?.take(claim.role)) ?? (await openSession(deps, claim.role));
  const end = async (): Promise<void> => {
    // What has been sent to be committed is the server's to decide, and may be why the partition is not ours any more: a beat finds that
    // out from another connection, perhaps before we are told.
    await within(commitMs, commitUnderWay(holder));
    // The server would come to the end of its statement, with all that it has locked, before it noticed that nobody listens.
    void cancelStatement(holder.client);
    await holder.end().catch(() => undefined);
  };
  const onLost = (): void => void end();
  lost.addEventListener('abort', onLost, { once: true });
  let isKept = false;
  try {
    lost.throwIfAborted();
    requireHeld(claim, await recordHolder(holder, claim));
    const used = await use(holder);
    // A request to cancel may be on its way to the backend of a lease that was lost.
    isKept = !lost.aborted;
    return used;
  } finally {
    lost.removeEventListener('abort', onLost);
    if (isKept && deps.session) await deps.session.keep(holder);
    else await endSession(holder);
  }
}

/** Lends a session of an agency that holds no partition. @throws UNAVAILABLE the server does not answer */
export async function withAgencySession<T>(
  deps: WorkerDeps,
  { role }: { role: string },
  use: (session: Connection) => Promise<T>,
): Promise<T> {
  const session = await openSession(deps, role);
  try {
    await limitWaits(session);
    return await use(session);
  } finally {
    await endSession(session);
  }
}
