import type { Queryable } from './pool.ts';
import type { PartitionKind, PartitionStatus, RunStage, RunStatus } from './run-vocabulary.ts';
import { sql } from './sql.ts';

/** The part of a run that one worker holds under a lease. */
export interface RunPartition {
  runId: string;
  partitionNo: number;
  kind: PartitionKind;
  stage: RunStage;
  status: PartitionStatus;
  epoch: number;
  takings: number;
  recordsRead: bigint;
  recordsWritten: bigint;
  recordsRejected: bigint;
  recordsFiltered: bigint;
  bytesRead: bigint;
  worker: string | null;
  leaseExpiresAt: Date | null;
  startedAt: Date | null;
  finishedAt: Date | null;
  updatedAt: Date;
}

/** What has been done of a run, summed over its partitions in one snapshot with its state. */
export interface RunTotals {
  runId: string;
  status: RunStatus;
  stage: RunStage;
  version: bigint;
  recordsTotal: bigint | null;
  bytesTotal: bigint | null;
  recordsRead: bigint;
  recordsWritten: bigint;
  recordsRejected: bigint;
  recordsFiltered: bigint;
  bytesRead: bigint;
  /** The kind of partition that is being worked on, or comes next; null when none is left. */
  current: PartitionKind | null;
  startedAt: Date | null;
  finishedAt: Date | null;
  updatedAt: Date;
  /** The database's clock, so that a rate never mixes two clocks. */
  readAt: Date;
}

/** The partitions of the given runs, by number, at most 1000 of each. @param runIds at most 200 */
export async function listPartitions(db: Queryable, runIds: readonly string[]): Promise<RunPartition[]> {
  const { rows } = await db.query<RunPartition>(sql`
    select
      p.run_id as "runId",
      p.partition_no as "partitionNo",
      p.kind,
      p.stage,
      p.status,
      p.epoch,
      p.takings,
      p.records_read as "recordsRead",
      p.records_written as "recordsWritten",
      p.records_rejected as "recordsRejected",
      p.records_filtered as "recordsFiltered",
      p.bytes_read as "bytesRead",
      p.leased_by as "worker",
      p.lease_expires_at as "leaseExpiresAt",
      p.started_at as "startedAt",
      p.finished_at as "finishedAt",
      p.updated_at as "updatedAt"
    from flux.runs r
    join flux.run_partitions p on p.agency_id = r.agency_id and p.run_id = r.run_id
    where r.agency_id = (select flux.current_agency())
      and r.run_id = any(${[...runIds]}::uuid[])
      and p.partition_no < 1000
    order by p.run_id, p.partition_no
  `);
  return rows;
}

/** The totals of the given runs, in no order; a run that does not exist for the session is absent. @param runIds at most 200 */
export async function sumPartitions(db: Queryable, runIds: readonly string[]): Promise<RunTotals[]> {
  const { rows } = await db.query<RunTotals>(sql`
    select
      r.run_id as "runId",
      r.status,
      r.stage,
      r.version,
      r.records_total as "recordsTotal",
      r.bytes_total as "bytesTotal",
      coalesce(sum(p.records_read), 0)::bigint as "recordsRead",
      coalesce(sum(p.records_written), 0)::bigint as "recordsWritten",
      coalesce(sum(p.records_rejected), 0)::bigint as "recordsRejected",
      coalesce(sum(p.records_filtered), 0)::bigint as "recordsFiltered",
      coalesce(sum(p.bytes_read), 0)::bigint as "bytesRead",
      (array_agg(p.kind order by p.status = 'EXECUTING' desc, p.partition_no)
        filter (where p.status in ('EXECUTING', 'AVAILABLE')))[1] as "current",
      r.started_at as "startedAt",
      r.finished_at as "finishedAt",
      greatest(r.updated_at, max(p.updated_at)) as "updatedAt",
      clock_timestamp() as "readAt"
    from flux.runs r
    left join flux.run_partitions p on p.agency_id = r.agency_id and p.run_id = r.run_id
    where r.agency_id = (select flux.current_agency())
      and r.run_id = any(${[...runIds]}::uuid[])
    group by r.agency_id, r.run_id
  `);
  return rows;
}
