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
  /** Partitions of the agency's other visible runs that come before it; null when none of its own could be taken now. */
  ahead: number | null;
  /** Workers that take work, over all hosts. */
  workers: number;
  /** Workers that are stopping. */
  draining: number;
  /** Partitions of the agency at work, and how many may be; null is without cap. */
  executing: number;
  cap: number | null;
  /** Other agencies with waiting work whose turn comes before the agency's next one. */
  agenciesFirst: number;
  /** The database's clock. */
  readAt: Date;
}

/** Where the given runs stand in the queue of their agency, in no order. @param runIds at most 200 */
export async function readStandstills(db: Queryable, runIds: readonly string[]): Promise<RunStandstill[]> {
  const { rows } = await db.query<RunStandstill>(sql`
    with outlook as materialized (select * from flux.queue_outlook()),
    -- The claim's own order, once for all runs that are asked about.
    waiting as materialized (
      select q.run_id, row_number() over (order by q.priority desc, q.run_id, q.partition_no) as place
      from flux.run_partitions q
      join flux.runs other on other.agency_id = q.agency_id and other.run_id = q.run_id
      where q.agency_id = (select flux.current_agency())
        and q.status = 'AVAILABLE'
        and q.available_at <= clock_timestamp()
    ),
    places as (
      select run_id, (min(place) - 1)::int as ahead
      from waiting
      group by run_id
    )
    select
      r.run_id as "runId",
      r.status,
      a.enabled as "agencyEnabled",
      r.cancel_deadline as "cancelDeadline",
      p.held,
      p.abandoned,
      p.idle,
      p.next_at as "nextAt",
      places.ahead,
      outlook.workers,
      outlook.draining,
      outlook.executing,
      outlook.cap,
      outlook.agencies_first as "agenciesFirst",
      clock_timestamp() as "readAt"
    from flux.runs r
    join flux.agencies a on a.agency_id = r.agency_id
    cross join outlook
    cross join lateral (
      select
        count(*) filter (where status = 'EXECUTING' and lease_expires_at >= clock_timestamp())::int as held,
        count(*) filter (where status = 'EXECUTING' and lease_expires_at < clock_timestamp())::int as abandoned,
        count(*) filter (where status = 'AVAILABLE')::int as idle,
        min(available_at) filter (where status = 'AVAILABLE') as next_at
      from flux.run_partitions
      where agency_id = r.agency_id
        and run_id = r.run_id
    ) p
    left join places on places.run_id = r.run_id
    where r.agency_id = (select flux.current_agency())
      and r.run_id = any(${[...runIds]}::uuid[])
  `);
  return rows;
}
