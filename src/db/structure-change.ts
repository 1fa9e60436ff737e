import { setTimeout as delay } from 'node:timers/promises';

import { FluxError } from '../errors.ts';
import type { Connection } from './pool.ts';
import { literal, sql } from './sql.ts';
import { inTransaction } from './transaction.ts';

/**
 * Half of PostgreSQL's deadlock_timeout (1 s): we mostly give way before the server looks for a deadlock and ends a transaction, which may be a
 * user's. Nobody who queues behind us waits longer for a table that somebody else holds.
 */
const lockMs = 500;
/** A vacuum of the server's own is ended for us by that same look, and else stays: each fourth try waits for it. */
const patientLockMs = 2_000;
const triesPerPatientOne = 4;
/** Between two tries whoever queued behind us goes on. */
const pauseMs = 1_000;
/** Of all changes together; a third of what the Job `flux-migrate` may take. */
export const structurePatienceMs = 300_000;

/** 55P03: a lock was not to be had in time. 40P01: the server has ended us to resolve a deadlock. */
const gaveWay = new Set(['55P03', '40P01']);

/**
 * Runs `work`, which takes tables for itself (https://www.postgresql.org/docs/current/explicit-locking.html), in one transaction
 * beside others' work. Tables that several users hold in another order than `work` takes them would be a deadlock, and a table that
 * one of them holds for long would stop everybody behind us. So a lock that is not to be had in half a second (two, each fourth time) is given up
 * with all that were taken, and the whole transaction is tried again a second later.
 *
 * @param name what is told of it, as "Migration 0150_foreseen_starts"
 * @param work may run several times; each time before the last was rolled back
 * @param triesUntil by `performance.now()`: a try that fails later is the last
 * @throws UNAVAILABLE others held what it needs whenever it asked; nothing was changed
 */
export async function changeStructure<T>(
  admin: Connection,
  name: string,
  work: (tx: Connection) => Promise<T>,
  triesUntil: number,
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const waitMs = tries % triesPerPatientOne === 0 ? patientLockMs : lockMs;
    try {
      return await inTransaction(admin, async (tx) => {
        await tx.query(sql`set local lock_timeout = ${literal(String(waitMs))}`);
        return work(tx);
      });
    } catch (cause) {
      if (!gaveWay.has((cause as { code?: string }).code ?? '')) throw cause;
      if (performance.now() + pauseMs > triesUntil) throw lastingLocks(name, cause);
      await delay(pauseMs);
    }
  }
}

function lastingLocks(name: string, cause: unknown): FluxError {
  return new FluxError(
    'UNAVAILABLE',
    `${name} changes tables that others' transactions held whenever it asked. Nothing of it is done. ` +
      'Look for old transactions (pg_stat_activity, by xact_start), end them, and run it again.',
    { cause },
  );
}
