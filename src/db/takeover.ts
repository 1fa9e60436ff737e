import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/**
 * Whether a partition of any agency is abandoned and nothing of its late holder is left, so that the next claim takes it. Runs as
 * flux_worker. Takes no lock: by the time of the claim another worker may have it.
 */
export async function takeoverWaits(db: Queryable): Promise<boolean> {
  const { rows } = await db.query<{ waits: boolean }>(sql`select flux.takeover_waits() as waits`);
  return rows[0]?.waits ?? false;
}

/** Longer than a statement of flux_worker may run (4 s), so whoever is still in one waits for a client that has gone. */
const tornMs = 5_000;

/**
 * Ends sessions of our own login that stand inside a statement's transaction and wait for the rest of what their client was sending: its
 * network tore between two messages. Such a session may hold the lock under which claims are decided, and no timeout of the server ends it
 * (statement_timeout is passed over while it reads, idle_in_transaction_session_timeout counts from the answer). Runs as flux_worker,
 * which never copies: inside COPY a session waits for its client rightly. @returns how many
 */
export async function endTornSessions(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ pid: number }>(sql`
    select pid
    from pg_stat_activity
    where usename = session_user
      and datname = current_database()
      and state = 'active'
      and wait_event = 'ClientRead'
      and xact_start < clock_timestamp() - ${tornMs} * interval '1 millisecond'
  `);
  for (const { pid } of rows) await db.query(sql`select pg_terminate_backend(${pid}::int)`);
  return rows.length;
}
