import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';
import type { RunStatus } from './run-vocabulary.ts';

/** What there is to know of why a run does not move. */
export interface RunStandstill {
  runId: string;
  status: RunStatus;
  agencyEnabled: boolean;
  cancelDeadline: Date | null;
  /** Partitions under a lease that holds. */
  held: number;
  /** Partitions whose holder let the lease run out. */
  abandoned: number;
  /** Partitions that nobody holds. */
  idle: number;
  /** When the first of them may be taken; null when there is none. */
  nextAt: Date | null;
  /** Partitions that come before it in the agency's own order. */
  ahead: number;
  /** The database's clock. */
  readAt: Date;
}

/** Where the given runs stand in the queue of their agency, in no order. @param runIds at most 200 */
export async function readStandstills(db: Queryable, runIds: readonly string[]): Promise<RunStandstill[]> {
  const { rows } = await db.query<RunStandstill>(sql`
    select
      r.run_id as "runId",
      r.status,
      a.enabled as "agencyEnabled",
      r.cancel_deadline as "cancelDeadline",
      p.held,
      p.abandoned,
      p.idle,
      first.available_at as "nextAt",
      (
        select count(*)::int
        from flux.run_partitions q
        join flux.runs other on other.agency_id = q.agency_id and other.run_id = q.run_id
        where q.agency_id = r.agency_id
          and q.status = 'AVAILABLE'
          and q.available_at <= clock_timestamp()
          and q.run_id <> r.run_id
          and (q.priority > first.priority
            or (q.priority = first.priority and (q.available_at, q.run_id) < (first.available_at, r.run_id)))
      ) as ahead,
      clock_timestamp() as "readAt"
    from flux.runs r
    join flux.agencies a on a.agency_id = r.agency_id
    cross join lateral (
      select
        count(*) filter (where status = 'EXECUTING' and lease_expires_at >= clock_timestamp())::int as held,
        count(*) filter (where status = 'EXECUTING' and lease_expires_at < clock_timestamp())::int as abandoned,
        count(*) filter (where status = 'AVAILABLE')::int as idle
      from flux.run_partitions
      where agency_id = r.agency_id
        and run_id = r.run_id
    ) p
    left join lateral (
      select priority, available_at
      from flux.run_partitions
      where agency_id = r.agency_id
        and run_id = r.run_id
        and status = 'AVAILABLE'
      order by priority desc, available_at, partition_no
      limit 1
    ) first on true
    where r.agency_id = (select flux.current_agency())
      and r.run_id = any(${[...runIds]}::uuid[])
  `);
  return rows;
}
