/** The statements of retention. What may go is decided in the database (migrations/0015); these ask, and say what went. */
import type { LoadTable } from './lake.ts';
import { loadTableName } from './lake.ts';
import type { Queryable } from './pool.ts';
import { ident, sql } from './sql.ts';

export interface RetainedAgency {
  agency: string;
  /** The login under which its retention works. */
  role: string;
}

/** Every open agency. Runs as flux_worker. */
export async function listRetainedAgencies(db: Queryable): Promise<RetainedAgency[]> {
  const { rows } = await db.query<RetainedAgency>(sql`
    select agency_id as agency, rw_role as role
    from flux.retained_agencies()
  `);
  return rows;
}

export interface ExpiredRuns {
  runs: bigint;
  events: bigint;
  checkpoints: bigint;
  rejectedRecords: bigint;
  objects: bigint;
  finishedBefore: Date;
  runIds: string[];
  /** Loads that were never shown; their tables are still there. */
  openLoads: { dataset: string; loadNo: string }[];
}

/** Takes away runs of the session's agency that ended before its retention; null when there are none. @param limit runs */
export async function expireRuns(tx: Queryable, limit: number): Promise<ExpiredRuns | null> {
  const { rows } = await tx.query<ExpiredRuns>(sql`
    select runs, events, checkpoints, rejected_records as "rejectedRecords", objects,
      finished_before as "finishedBefore", run_ids::text[] as "runIds", open_loads as "openLoads"
    from flux.expire_runs(${limit})
  `);
  return rows[0] ?? null;
}

/** Drops the table of a load that was never shown, if it is there. As the lake's owner. */
export async function dropLoadTable(tx: Queryable, table: LoadTable): Promise<void> {
  await tx.query(sql`drop table if exists ${ident(table.schema, loadTableName(table))}`);
}

/** @returns how many keys of the session's agency went */
export async function expireIdempotencyKeys(tx: Queryable, limit: number): Promise<bigint> {
  const { rows } = await tx.query<{ removed: bigint }>(sql`select flux.expire_idempotency_keys(${limit}) as removed`);
  return rows[0]?.removed ?? 0n;
}

/** Prunes sealed entries of the session's agency, and says so in its log. @returns how many */
export async function expireAudit(tx: Queryable, limit: number): Promise<bigint> {
  const { rows } = await tx.query<{ removed: bigint }>(sql`select flux.expire_audit(${limit}) as removed`);
  return rows[0]?.removed ?? 0n;
}

/** Whether a run or an upload names the object of a row `e`. */
const named = sql`(
  exists (select from flux.source_objects o where o.agency_id = e.agency_id and o.address = e.address)
  or exists (select from flux.run_parts p where p.agency_id = e.agency_id and p.address = e.address)
  or exists (select from flux.upload_parts u where u.agency_id = e.agency_id and u.address = e.address)
)`;

/**
 * Addresses of the session's agency that expired some time ago and that no run and no upload names. @param graceMs since when, milliseconds
 */
export async function listExpiredObjects(
  db: Queryable,
  { graceMs, limit }: { graceMs: number; limit: number },
): Promise<string[]> {
  const { rows } = await db.query<{ address: string }>(sql`
    select e.address
    from flux.expired_objects e
    where e.agency_id = (select flux.current_agency())
      and e.expired_at < clock_timestamp() - ${graceMs} * interval '1 millisecond'
      and not ${named}
    order by e.expired_at
    limit ${limit}
  `);
  return rows.map(({ address }) => address);
}

/** Forgets addresses: their objects are gone. */
export async function forgetExpiredObjects(tx: Queryable, addresses: readonly string[]): Promise<void> {
  await tx.query(sql`
    delete from flux.expired_objects
    where agency_id = (select flux.current_agency())
      and address = any (${addresses})
  `);
}

/** Forgets addresses that a run names again: the same bytes came a second time. */
export async function keepReusedObjects(tx: Queryable): Promise<void> {
  await tx.query(sql`
    delete from flux.expired_objects e
    where e.agency_id = (select flux.current_agency())
      and ${named}
  `);
}
