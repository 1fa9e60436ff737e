/** The checks behind /health: each uses what the work uses, and throws what is wrong. */
import { canonicalBytes } from './canonical-json.ts';
import { sha256 } from './crypto/hash.ts';
import { randomUuid } from './crypto/random.ts';
import { echoCheckpoint } from './db/operation-counts.ts';
import type { Queryable } from './db/pool.ts';
import { replicationState, takesWrites } from './db/replication.ts';
import { sealerState } from './db/sealer-state.ts';
import { FluxError } from './errors.ts';

/** As the alert `FluxAuditNotSealed` has it. */
export const sealWaitSecondsMax = 300;

/** As the alert on CloudNativePG would: sixteen segments of the log. */
export const replicationLagBytesMax = 256 * 1024 ** 2;

/**
 * A checkpoint's way without its row, which only the holder of a lease may write: made, sent, hashed by the database, taken
 * back and compared.
 */
export async function checkCheckpointRoundTrip(db: Queryable): Promise<void> {
  const body = canonicalBytes({ probe: randomUuid(), version: 1, cursor: '{"offset":0,"record":0}' });
  const found = await echoCheckpoint(db, body);
  const expected = sha256(body);
  if (!found.body.equals(body) || !found.hash.equals(expected)) {
    throw new Error('the database gave back another checkpoint than it was sent');
  }
}

/**
 * The server answers and takes writes: after a failover an address may lead to one that only follows.
 *
 * @throws UNAVAILABLE
 */
export async function checkDatabase(db: Queryable): Promise<void> {
  if (await takesWrites(db)) return;
  throw new FluxError(
    'UNAVAILABLE',
    'The database answers and takes no writes: it follows another server, or was told to be read-only. Connect to the one that leads.',
  );
}

/**
 * Entries are sealed: somebody leads, and what waits has not waited for long. What leads may still refuse an agency whose log does not hold.
 *
 * @throws UNAVAILABLE
 */
export async function checkSealer(db: Queryable): Promise<void> {
  await checkSealerLeads(db);
  const { waitingSeconds } = await sealerState(db);
  if (waitingSeconds <= sealWaitSecondsMax) return;
  throw new FluxError(
    'UNAVAILABLE',
    `A sealer leads, but an entry of the audit log has waited for ${waitingSeconds.toFixed(0)} s, and ${String(sealWaitSecondsMax)} s are the most. Its log says why; docs/operations/audit-break.md.`,
  );
}

/** @throws UNAVAILABLE no sealer holds the lease */
export async function checkSealerLeads(db: Queryable): Promise<void> {
  const { leads, silentSeconds } = await sealerState(db);
  if (leads) return;
  const since = silentSeconds === null ? 'and none ever did' : `for ${silentSeconds.toFixed(0)} s`;
  throw new FluxError(
    'UNAVAILABLE',
    `No sealer of the audit log works, ${since}: entries are kept and wait. Start one with flux sealer.`,
  );
}

/**
 * Every replica that the server keeps its log for is there and near. Without replicas there is nothing to be late.
 *
 * @throws UNAVAILABLE
 */
export async function checkReplication(db: Queryable, { lagBytesMax = replicationLagBytesMax } = {}): Promise<void> {
  const { replicasAway, replicationLagBytes: lag } = await replicationState(db);
  if (replicasAway > 0) {
    throw new FluxError(
      'UNAVAILABLE',
      `${String(replicasAway)} of the database’s replicas ${replicasAway === 1 ? 'is' : 'are'} not connected. Bring them back, or drop their slots; docs/operations/failover.md.`,
    );
  }
  if ((lag ?? 0) <= lagBytesMax) return;
  throw new FluxError(
    'UNAVAILABLE',
    `The replica furthest behind lacks ${String(lag)} bytes of the log, and ${String(lagBytesMax)} are the most. See docs/operations/failover.md.`,
  );
}
