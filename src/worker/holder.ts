import { cancelStatement } from '../db/cancel.ts';
import { limitWaits, recordHolder } from '../db/partitions.ts';
import { connect, type Connection } from '../db/pool.ts';
import type { Claim } from '../db/queue.ts';
import { rolePassword } from '../db/roles.ts';
import { commitUnderWay } from '../db/transaction.ts';
import { requireHeld } from './fenced.ts';
import { within } from './within.ts';
import type { WorkerDeps } from './work.ts';

/** A peer that has gone does not answer a goodbye. */
const goodbyeMs = 2_000;

/** The answer to a COMMIT is on its way, or its server is frozen. */
const commitMs = 2_000;

/**
 * Opens a session as the partition's agency, and records its backend so that rescue can end it. When the lease is lost the
 * session ends at once, whatever it is doing, on the server too; only the answer to a COMMIT is waited for, and not for long.
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
  const holder = await openSession(deps, claim);
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
  try {
    lost.throwIfAborted();
    requireHeld(claim, await recordHolder(holder, claim));
    return await use(holder);
  } finally {
    lost.removeEventListener('abort', onLost);
    await within(
      goodbyeMs,
      holder.end().catch(() => undefined),
    );
  }
}

/** Lends a session of an agency that holds no partition. @throws UNAVAILABLE the server does not answer */
export async function withAgencySession<T>(
  deps: WorkerDeps,
  run: { runId: string; role: string },
  use: (session: Connection) => Promise<T>,
): Promise<T> {
  const session = await openSession(deps, run);
  try {
    await limitWaits(session);
    return await use(session);
  } finally {
    await within(
      goodbyeMs,
      session.end().catch(() => undefined),
    );
  }
}

function openSession(
  { config, log }: WorkerDeps,
  { runId, role }: { runId: string; role: string },
): Promise<Connection & { end(): Promise<void> }> {
  return connect({
    url: agencyUrl(config.databaseUrl, role, config.contextKey),
    applicationName: `flux worker ${config.id}`,
    prepared: true,
    onError: (err) => log.warn({ err, runId }, 'the session of a partition broke'),
  });
}

/** The same server and database under another login. */
function agencyUrl(workerUrl: string, role: string, contextKey: Buffer): string {
  const url = new URL(workerUrl);
  url.username = encodeURIComponent(role);
  url.password = rolePassword(contextKey, role);
  return url.href;
}
