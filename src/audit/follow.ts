import { setTimeout as delay } from 'node:timers/promises';

import { lastSealedSeq, listSealedEntries, type SealedEntry } from '../db/audit-entries.ts';
import type { Pool } from '../db/pool.ts';
import { inTenant } from '../db/transaction.ts';
import { toFluxError } from '../errors.ts';
import { auditHint } from './hint.ts';

/** What following needs of the process: its pool, and who calls when entries were sealed. */
export interface FollowAuditDeps {
  pool: Pool;
  hints: { on(key: string, wake: () => void): () => void };
  pollMs?: number;
}

const pageLimit = 200;
const defaultPollMs = 1_000;

/**
 * Every entry of the session's agency after a number, as it is sealed, in order and exactly once; never ends by itself. A
 * database that is away for a while is waited out.
 *
 * @param afterSeq null begins after what is sealed now
 */
export async function* followAudit(
  deps: FollowAuditDeps,
  { sealed, afterSeq, signal }: { sealed: () => string; afterSeq: bigint | null; signal: AbortSignal },
): AsyncGenerator<SealedEntry, void, void> {
  let woken = new AbortController();
  const release = deps.hints.on(auditHint, () => woken.abort());
  try {
    let last = afterSeq ?? (await inTenant(deps.pool, sealed(), lastSealedSeq));
    while (!signal.aborted) {
      woken = new AbortController();
      const page = await inTenant(deps.pool, sealed(), (tx) =>
        listSealedEntries(tx, { afterSeq: last, limit: pageLimit }),
      ).catch((cause: unknown) => {
        const error = toFluxError(cause);
        if (error.retryable) return [];
        throw error;
      });
      for (const entry of page) {
        yield entry;
        last = entry.seq;
      }
      if (page.length === pageLimit) continue;
      const ends = AbortSignal.any([signal, woken.signal]);
      await delay(deps.pollMs ?? defaultPollMs, undefined, { signal: ends }).catch(() => undefined);
    }
  } finally {
    release();
  }
}
