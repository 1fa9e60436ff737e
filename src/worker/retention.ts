import { setTimeout as delay } from 'node:timers/promises';

import { appendAudit } from '../audit/append.ts';
import { connect, type Connection, createPool } from '../db/pool.ts';
import {
  dropLoadTable,
  expireAudit,
  expireIdempotencyKeys,
  expireRuns,
  forgetExpiredObjects,
  keepReusedObjects,
  listExpiredObjects,
  listRetainedAgencies,
  type RetainedAgency,
} from '../db/retention.ts';
import { lakeSchema, rolePassword } from '../db/roles.ts';
import { expireUploads } from '../db/uploads.ts';
import { inTransaction } from '../db/transaction.ts';

/**
 * Takes away what agencies need not keep any more. A worker does it and not the sealer: the objects are within its reach, and it has each
 * agency's own session, under which the database lets go of nothing but what has expired (migrations/0015). Any number of workers may run
 * it; per agency one at a time works.
 */
export interface RetentionOptions {
  /** Of flux_worker. */
  databaseUrl: string;
  contextKey: Buffer;
  objects: ObjectRemover;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  /** Between two rounds, milliseconds. */
  everyMs?: number;
  /** How long an object outlives its last run, milliseconds. */
  graceMs?: number;
}

/** The object store, as far as retention needs it. */
export interface ObjectRemover {
  /** Removes an object unless it was stored again since. @returns whether it is gone */
  remove(address: string, options: { unusedForMs: number }): Promise<boolean>;
}

/** What a round took away. */
export interface Expired {
  agency: string;
  runs: number;
  events: number;
  checkpoints: number;
  rejectedRecords: number;
  auditEntries: number;
  objects: number;
}

const usualEveryMs = 3_600_000;
const usualGraceMs = 3_600_000;
const firstMs = 30_000;
/** Of each round's transactions: short enough to hold nobody up. */
const batch = { runs: 50, keys: 1_000, entries: 5_000, objects: 500 };
/** Between two batches, so that expiry never fills the disk's queue. */
const breathMs = 20;

/** Starts the rounds. The first comes half a minute later: whoever starts has more urgent things to do. */
export function startRetention(options: RetentionOptions): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const everyMs = options.everyMs ?? usualEveryMs;
  const done = (async () => {
    await delay(Math.min(everyMs, firstMs), undefined, { signal: stopping.signal }).catch(() => undefined);
    while (!stopping.signal.aborted) {
      await expireAll(options, stopping.signal).catch((err: unknown) =>
        options.log.warn({ err }, 'retention waits for its next round'),
      );
      // Workers that started together must not come together for ever.
      const pause = everyMs * (0.9 + Math.random() / 5);
      await delay(pause, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();
  return {
    async stop() {
      stopping.abort();
      await done;
    },
  };
}

/** One round over every agency. One that fails keeps no other back. */
export async function expireAll(options: RetentionOptions, signal?: AbortSignal): Promise<Expired[]> {
  const pool = createPool({ url: options.databaseUrl, max: 1, applicationName: 'flux retention' });
  const agencies = await listRetainedAgencies(pool).finally(() => pool.end());
  const results: Expired[] = [];
  for (const agency of agencies) {
    if (signal?.aborted) break;
    try {
      results.push(await expireAgency(options, agency, signal));
    } catch (err) {
      options.log.warn({ err, agency: agency.agency }, 'what has expired could not be taken away');
    }
  }
  return results.filter(({ agency: _agency, ...counts }) => Object.values(counts).some((count) => count > 0));
}

async function expireAgency(
  options: RetentionOptions,
  { agency, role }: RetainedAgency,
  signal: AbortSignal | undefined,
): Promise<Expired> {
  const url = new URL(options.databaseUrl);
  url.username = encodeURIComponent(role);
  url.password = rolePassword(options.contextKey, role);
  const session = await connect({ url: url.href, applicationName: 'flux retention' });
  const total: Expired = {
    agency,
    runs: 0,
    events: 0,
    checkpoints: 0,
    rejectedRecords: 0,
    auditEntries: 0,
    objects: 0,
  };
  const repeat = async (step: () => Promise<boolean>): Promise<void> => {
    while (!signal?.aborted && (await step())) await delay(breathMs);
  };
  try {
    await repeat(() => expireSomeRuns(session, total));
    await repeat(async () => (await expireIdempotencyKeys(session, batch.keys)) > 0n);
    await repeat(async () => (await expireUploads(session, batch.keys)) === batch.keys);
    await repeat(async () => {
      const pruned = Number(await expireAudit(session, batch.entries));
      total.auditEntries += pruned;
      return pruned === batch.entries;
    });
    total.objects = await removeObjects(options, session, agency);
    if (total.runs + total.auditEntries + total.objects > 0)
      options.log.info(total, 'retention took away what had expired');
    return total;
  } finally {
    await session.end();
  }
}

/** One batch with its audit entry, in one transaction. @returns whether there may be more */
async function expireSomeRuns(session: Connection, total: Expired): Promise<boolean> {
  return inTransaction(session, async (tx) => {
    const expired = await expireRuns(tx, batch.runs);
    if (!expired) return false;
    const { openLoads, runIds, finishedBefore, ...counts } = expired;
    for (const { dataset, loadNo } of openLoads) {
      await dropLoadTable(tx, { schema: lakeSchema(total.agency), dataset, loadNo: BigInt(loadNo) });
    }
    const told = Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, String(count)]));
    await appendAudit(tx, {
      ...retention,
      action: 'retention.expire',
      resourceType: 'run',
      success: true,
      after: { ...told, finishedBefore: finishedBefore.toISOString(), runIds, unpublishedLoads: openLoads },
    });
    total.runs += Number(counts.runs);
    total.events += Number(counts.events);
    total.checkpoints += Number(counts.checkpoints);
    total.rejectedRecords += Number(counts.rejectedRecords);
    return runIds.length === batch.runs;
  });
}

const retention = { actor: 'retention', role: 'platform' };

/** The object goes first: an address that is forgotten before would leave bytes that nobody looks for. */
async function removeObjects(
  { objects, graceMs = usualGraceMs }: RetentionOptions,
  session: Connection,
  agency: string,
): Promise<number> {
  await keepReusedObjects(session);
  const gone: string[] = [];
  for (const address of await listExpiredObjects(session, { graceMs, limit: batch.objects })) {
    if (await objects.remove(address, { unusedForMs: graceMs })) gone.push(address);
  }
  if (gone.length === 0) return 0;
  await inTransaction(session, async (tx) => {
    await forgetExpiredObjects(tx, gone);
    await appendAudit(tx, {
      ...retention,
      action: 'retention.remove',
      resourceType: 'object',
      resourceId: agency,
      success: true,
      after: { objects: gone.length, addresses: gone.slice(0, 100) },
    });
  });
  return gone.length;
}
