import type { Connection, Pool } from './pool.ts';
import { sql } from './sql.ts';

/**
 * Runs `work` in one transaction: commits when it resolves, rolls back when it throws.
 *
 * A COMMIT whose reply is lost throws too, although the server may have committed: whoever repeats the work must find out by
 * its idempotency key.
 */
export async function inTransaction<T>(connection: Connection, work: (tx: Connection) => Promise<T>): Promise<T> {
  await connection.query(sql`begin`);
  let result: T;
  try {
    result = await work(connection);
  } catch (cause) {
    await connection.query(sql`rollback`).catch(() => undefined);
    throw cause;
  }
  await connection.query(sql`commit`);
  return result;
}

/**
 * Runs `work` in one transaction as the tenant that `sealedContext` names (auth/tenant-context.ts mints it). Row-level
 * security then shows that tenant's rows and no others; 42501 when the seal is forged or expired.
 *
 * On a pipelined connection the transaction's opening travels together with the first statement of `work`.
 *
 * @param signal ends the running statement when it aborts
 */
export function inTenant<T>(
  pool: Pool,
  sealedContext: string,
  work: (tx: Connection) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  return pool.withConnection(
    (connection) =>
      connection.pipelined
        ? inPipelinedTenant(connection, sealedContext, work)
        : inTransaction(connection, async (tx) => {
            await setTenant(tx, sealedContext);
            return work(tx);
          }),
    signal,
  );
}

async function inPipelinedTenant<T>(
  connection: Connection,
  sealedContext: string,
  work: (tx: Connection) => Promise<T>,
): Promise<T> {
  const opening = Promise.all([connection.query(sql`begin`), setTenant(connection, sealedContext)]);
  // Both must have settled before anything else is sent: `work` may still be asking when the opening has failed.
  const [worked, opened] = await Promise.allSettled([work(connection), opening]);
  if (opened.status === 'fulfilled' && worked.status === 'fulfilled') {
    await connection.query(sql`commit`);
    return worked.value;
  }
  await connection.query(sql`rollback`).catch(() => undefined);
  // What stands behind a failed opening fails as well; the opening's own failure is the one to tell.
  throw opened.status === 'rejected' ? opened.reason : (worked as PromiseRejectedResult).reason;
}

/**
 * Asks for what does not need each other's answers: on a pipelined connection it travels together, on any other in turn.
 *
 * @throws the first failure, in the order of `asks`; everything has settled by then, so nothing is sent after a rollback
 */
export async function together<Answers extends readonly unknown[]>(
  tx: Connection,
  ...asks: { [K in keyof Answers]: () => Promise<Answers[K]> }
): Promise<Answers> {
  const answers: unknown[] = [];
  if (!tx.pipelined) {
    for (const ask of asks) answers.push(await ask());
    return answers as unknown as Answers;
  }
  for (const settled of await Promise.allSettled(asks.map((ask) => ask()))) {
    if (settled.status === 'rejected') throw settled.reason;
    answers.push(settled.value);
  }
  return answers as unknown as Answers;
}

/** Makes the rest of the open transaction the tenant's. */
export async function setTenant(tx: Connection, sealedContext: string): Promise<void> {
  await tx.query(sql`select set_config('flux.context', ${sealedContext}, true)`);
}
