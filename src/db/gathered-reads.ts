import { FluxError } from '../errors.ts';
import type { Connection, Pool } from './pool.ts';
import { inTenant } from './transaction.ts';

/** Reads in the caller's tenant context. What `work` asks must change nothing. */
export type TenantRead = <T>(work: (tx: Connection) => Promise<T>) => Promise<T>;

interface Waiting {
  work(tx: Connection): Promise<unknown>;
  resolve(value: unknown): void;
  reject(cause: unknown): void;
}

/**
 * Reads of one operation that are asked for together share a transaction: its opening and its end are most of what a small read
 * costs, and on a pipelined connection the statements travel together. Each answer is given as soon as it is there, because
 * nothing depends on the end of a transaction that changes nothing.
 *
 * A statement that fails takes the transaction with it, and with it what stands behind. Those are read again, each by itself, so
 * that everybody gets an own answer or an own error.
 *
 * @param sealed mints a fresh sealed context
 * @param signal ends the statements that run when it aborts
 */
export function gatherReads(pool: Pool, sealed: () => string, signal?: AbortSignal): TenantRead {
  let waiting: Waiting[] = [];

  const readAll = async (all: readonly Waiting[]): Promise<void> => {
    const failed: { it: Waiting; cause: unknown }[] = [];
    const read = async (it: Waiting, tx: Connection): Promise<void> => {
      try {
        it.resolve(await it.work(tx));
      } catch (cause) {
        failed.push({ it, cause });
      }
    };
    await inTenant(
      pool,
      sealed(),
      async (tx) => {
        if (tx.pipelined) await tx.inOnePacket(() => Promise.all(all.map((it) => read(it, tx))));
        else for (const it of all) await read(it, tx);
      },
      signal,
    );
    for (const { it, cause } of failed) {
      // A refusal of our own has broken nothing, and a single read nobody else's.
      if (all.length === 1 || cause instanceof FluxError) it.reject(cause);
      else await inTenant(pool, sealed(), it.work.bind(it), signal).then(it.resolve, it.reject);
    }
  };

  const flush = (): void => {
    const all = waiting;
    waiting = [];
    readAll(all).catch((cause: unknown) => {
      for (const { reject } of all) reject(cause);
    });
  };

  return <T>(work: (tx: Connection) => Promise<T>) =>
    new Promise<T>((resolve, reject) => {
      waiting.push({ work, resolve: resolve, reject });
      // Behind the promises that are settled already: whom they wake may ask as well.
      if (waiting.length === 1) process.nextTick(flush);
    });
}
