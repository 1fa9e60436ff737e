import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** What operators watch, over all agencies. Ages are of the oldest that waits, in seconds; 0 when nothing does. */
export interface OperationCounts {
  queueDepth: number;
  queueAgeSeconds: number;
  executing: number;
  activeRuns: number;
  auditSealLagSeconds: number;
}

/** Runs as flux_api or flux_worker. */
export async function operationCounts(db: Queryable): Promise<OperationCounts> {
  const { rows } = await db.query<Record<string, bigint | number>>(sql`
    select
      queue_depth as "queueDepth",
      queue_age_seconds as "queueAgeSeconds",
      executing,
      active_runs as "activeRuns",
      audit_seal_lag_seconds as "auditSealLagSeconds"
    from flux.operation_counts()
  `);
  const counts = Object.entries(rows[0] ?? {}).map(([name, value]) => [name, Number(value)] as const);
  return Object.fromEntries(counts) as unknown as OperationCounts;
}

/** Sends a checkpoint's bytes to the database and takes them back, hashed there. Stores nothing. */
export async function echoCheckpoint(db: Queryable, body: Buffer): Promise<{ body: Buffer; hash: Buffer }> {
  const { rows } = await db.query<{ body: Buffer; hash: Buffer }>(sql`
    select given.body, sha256(given.body) as hash from (select ${body}::bytea as body) given
  `);
  return rows[0] as { body: Buffer; hash: Buffer };
}
