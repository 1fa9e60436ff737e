import pg from 'pg';

import type { Connection, Pool } from './pool.ts';
import { type Sql, sql } from './sql.ts';

/**
 * Runs `work` in one transaction: commits when it resolves, rolls back when it throws.
 *
 * A COMMIT whose reply is lost throws too, although the server may have committed: whoever repeats the work must find out by
 * its idempotency key.
 *
 * @param opening what the transaction asks first; where the connection can, it travels with the begin. `work` waits for it
 */
export async function inTransaction<T>(
  connection: Connection,
  work: (tx: Connection) => Promise<T>,
  opening?: (tx: Connection) => Promise<void>,
): Promise<T> {
  if (!opening) await connection.query(sql`begin`);
  let result: T;
  try {
    if (opening) {
      await together(
        connection,
        () => connection.query(sql`begin`),
        () => opening(connection),
      );
    }
    result = await work(connection);
  } catch (cause) {
    await connection.query(sql`rollback`).catch(() => undefined);
    throw cause;
  }
  const commit = connection.query(sql`commit`);
  commits.set(connection.client, commit);
  await commit.finally(() => commits.delete(connection.client));
  return result;
}

const commits = new WeakMap<pg.ClientBase, Promise<unknown>>();

/** Settles with the COMMIT that `inTransaction` has sent over a connection and that is not answered yet; at once when there is none. */
export async function commitUnderWay({ client }: Connection): Promise<void> {
  await commits.get(client)?.catch(() => undefined);
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
  return inTenantFrom(sql`begin`, pool, sealedContext, work, signal);
}

/**
 * As `inTenant`, for what several statements read of one moment, whatever is committed between them; `work` can write nothing.
 * (Each statement of a transaction of `inTenant` sees what was committed before that statement: read committed.)
 */
export function inTenantSnapshot<T>(
  pool: Pool,
  sealedContext: string,
  work: (tx: Connection) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  return inTenantFrom(sql`begin isolation level repeatable read, read only`, pool, sealedContext, work, signal);
}

function inTenantFrom<T>(
  begin: Sql,
  pool: Pool,
  sealedContext: string,
  work: (tx: Connection) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  return pool.withConnection(async (connection) => {
    const worked = await begun(connection, begin, sealedContext, work);
    await connection.query(sql`commit`);
    return worked;
  }, signal);
}

/** Opens the transaction, on a pipelined connection together with the first statements of `work`; has rolled back when it throws. */
async function begun<T>(
  connection: Connection,
  begin: Sql,
  sealedContext: string,
  work: (tx: Connection) => Promise<T>,
): Promise<T> {
  if (!connection.pipelined) return begunInTurn(connection, begin, sealedContext, work);
  // Both must have settled before anything else is sent: `work` may still be asking when the opening has failed.
  const [opened, worked] = await connection.inOnePacket(() => {
    const opening = Promise.all([connection.query(begin), setTenant(connection, sealedContext)]);
    return Promise.allSettled([opening, work(connection)]);
  });
  if (opened.status === 'fulfilled' && worked.status === 'fulfilled') return worked.value;
  await connection.query(sql`rollback`).catch(() => undefined);
  // What stands behind a failed opening fails as well; the opening's own failure is the one to tell.
  throw opened.status === 'rejected' ? (opened.reason as Error) : ((worked as PromiseRejectedResult).reason as Error);
}

async function begunInTurn<T>(
  connection: Connection,
  begin: Sql,
  sealedContext: string,
  work: (tx: Connection) => Promise<T>,
): Promise<T> {
  await connection.query(begin);
  try {
    await setTenant(connection, sealedContext);
    return await work(connection);
  } catch (cause) {
    await connection.query(sql`rollback`).catch(() => undefined);
    throw cause;
  }
}

/** Statements that need no answers of each other, and what their answers, in the same order, say. */
export interface Statements<T> {
  statements: readonly Sql[];
  values(answers: readonly { rows: object[]; rowCount: number }[]): T[];
}

/** SQLSTATE of the statements that refuse what was prepared from an earlier reading (migrations/0150). */
export const notAsForeseen = 'FX011';

/** The end of a transaction that has not been rolled back: committed, or nobody knows, because an answer was lost. */
export type Ending<T> = { committed: T[] } | { unknown: unknown };

/**
 * As `inTenant`, for work that knows its last statements before it needs their answers: on a pipelined connection the commit
 * travels behind them, which saves its round trip. When one of them fails, the server rolls back at the commit.
 *
 * @param work returns the last statements, complete, so that none can fail to be sent; null when there is nothing to commit
 * @returns null when `work` did
 * @throws what has been rolled back, and only that
 */
export function inTenantToEnd<T>(
  pool: Pool,
  sealedContext: string,
  work: (tx: Connection) => Promise<Statements<T> | null>,
): Promise<Ending<T> | null> {
  return pool.withConnection(async (connection) => {
    const last = await begun(connection, sql`begin`, sealedContext, async (tx) => {
      const wanted = await work(tx);
      wanted?.statements.forEach(requireSendable);
      return wanted;
    });
    if (last === null) {
      await connection.query(sql`rollback`);
      return null;
    }
    return connection.pipelined ? endTogether(connection, last) : endInTurn(connection, last);
  });
}

/**
 * As `inTenantToEnd`, for work that asks for nothing before its last statements: on a pipelined connection all of it, the opening and
 * the commit too, is one round trip.
 *
 * @param work called when there is a connection; whatever it throws, nothing has been sent
 * @throws what has been rolled back, and only that
 */
export function inTenantAtOnce<T>(
  pool: Pool,
  sealedContext: string,
  work: () => Promise<Statements<T>>,
): Promise<Ending<T>> {
  return pool.withConnection(async (connection) => {
    const all = await work();
    all.statements.forEach(requireSendable);
    if (connection.pipelined) {
      return endTogether(connection, all, () => [connection.query(sql`begin`), setTenant(connection, sealedContext)]);
    }
    await begunInTurn(connection, sql`begin`, sealedContext, () => Promise.resolve());
    return endInTurn(connection, all);
  });
}

async function endTogether<T>(
  connection: Connection,
  { statements, values }: Statements<T>,
  open: () => Promise<unknown>[] = () => [],
): Promise<Ending<T>> {
  const [opened, written, ended] = await connection.inOnePacket(() =>
    Promise.all([
      Promise.allSettled(open()),
      Promise.allSettled(statements.map((statement) => connection.query(statement))),
      Promise.allSettled([connection.query(sql`commit`)]),
    ]),
  );
  const failures = [...opened, ...written].filter(isRejected).map(({ reason }): unknown => reason);
  // The server itself has answered with an error in front of the commit, after which there was nothing but to roll back.
  const refusal = failures.find((failure) => failure instanceof pg.DatabaseError);
  if (refusal) throw refusal;
  const [unknown] = [...failures, ...ended.filter(isRejected).map(({ reason }): unknown => reason)];
  if (unknown !== undefined) return { unknown };
  return { committed: values(written.map((one) => (one as PromiseFulfilledResult<Answer>).value)) };
}

async function endInTurn<T>(connection: Connection, { statements, values }: Statements<T>): Promise<Ending<T>> {
  const answers: Answer[] = [];
  try {
    for (const statement of statements) answers.push(await connection.query(statement));
  } catch (cause) {
    await connection.query(sql`rollback`).catch(() => undefined);
    throw cause;
  }
  try {
    await connection.query(sql`commit`);
  } catch (unknown) {
    return { unknown };
  }
  return { committed: values(answers) };
}

type Answer = { rows: object[]; rowCount: number };

function isRejected(settled: PromiseSettledResult<unknown>): settled is PromiseRejectedResult {
  return settled.status === 'rejected';
}

/** What the driver writes without a call that can fail: a statement that is not sent must not leave the commit behind it alone. */
function requireSendable({ values }: Sql): void {
  const sendable = (value: unknown): boolean =>
    value === null ||
    ['string', 'number', 'boolean', 'bigint'].includes(typeof value) ||
    Buffer.isBuffer(value) ||
    (Array.isArray(value) && value.every(sendable));
  if (!values.every(sendable))
    throw new TypeError('expected texts, numbers, bytes, and arrays of them, found an object');
}

/**
 * Asks for what does not need each other's answers: it travels together on a connection whose statements are prepared, on any other in turn.
 *
 * @throws the first failure, in the order of `asks`; everything has settled by then, so nothing is sent after a rollback
 */
export async function together<Answers extends readonly unknown[]>(
  tx: Connection,
  ...asks: { [K in keyof Answers]: () => Promise<Answers[K]> }
): Promise<Answers> {
  const answers: unknown[] = [];
  if (!tx.bursts) {
    for (const ask of asks) answers.push(await ask());
    return answers as unknown as Answers;
  }
  for (const settled of await tx.inOnePacket(() => Promise.allSettled(asks.map((ask) => ask())))) {
    if (settled.status === 'rejected') throw settled.reason;
    answers.push(settled.value);
  }
  return answers as unknown as Answers;
}

/** Makes the rest of the open transaction the tenant's. */
export async function setTenant(tx: Connection, sealedContext: string): Promise<void> {
  await tx.query(sql`select set_config('flux.context', ${sealedContext}, true)`);
}
