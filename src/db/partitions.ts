import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import type { PartitionKind } from './run-vocabulary.ts';
import { type Sql, sql } from './sql.ts';

/** What a partition has done so far: absolute numbers, from its first record on. */
export interface PartitionCounts {
  read: number;
  written: number;
  rejected: number;
  filtered: number;
  bytes: number;
}

/**
 * A session that waits longer than this for a lock, or sits in a transaction and says nothing, is in somebody's way: where rescue
 * may not end backends, and for sessions that hold no partition, these are all that frees the locks of a host that has gone. A lock is
 * waited for longer than a lease and a look for abandoned ones take (6 s), so that a frozen peer costs those who wait for it no failed try.
 */
export async function limitWaits(db: Queryable): Promise<void> {
  await db.query(sql`
    select set_config('lock_timeout', '8s', false), set_config('idle_in_transaction_session_timeout', '10s', false)
  `);
}

/**
 * Sets the session's limits and records its backend as the holder's, so that rescue can end it. False when the lease is
 * lost.
 */
export async function recordHolder(db: Queryable, claim: Claim): Promise<boolean> {
  await limitWaits(db);
  const { rowCount } = await db.query(sql`
    update flux.run_partitions
    set holder_pid = pg_backend_pid()
    where ${held(claim)}
  `);
  return rowCount === 1;
}

/**
 * The fence: locks our lease row until the transaction ends, without blocking the heartbeat (for key share). A claimer skips
 * the locked row. False when the lease is lost or has run out: write nothing.
 */
export async function lockLease(tx: Queryable, claim: Claim): Promise<boolean> {
  const { rows } = await tx.query(sql`
    select
    from flux.run_partitions
    where ${held(claim)}
    for key share
  `);
  return rows.length === 1;
}

/**
 * Our partition while we hold it. The database's clock decides. The holder's name stands beside the epoch, because a claim is
 * not flushed: a crash of the server may undo one, and the next claim then has the same epoch.
 */
function held(claim: Claim): Sql {
  return sql`
    agency_id = ${claim.agencyId}
    and run_id = ${claim.runId}
    and partition_no = ${claim.partitionNo}
    and epoch = ${claim.epoch}
    and leased_by = ${claim.worker}
    and status = 'EXECUTING'
    and lease_expires_at > clock_timestamp()
  `;
}

/** Our partition, in a transaction that has locked the lease and so needs no clock any more. */
function ours(claim: Claim): Sql {
  return sql`
    agency_id = ${claim.agencyId}
    and run_id = ${claim.runId}
    and partition_no = ${claim.partitionNo}
    and epoch = ${claim.epoch}
    and leased_by = ${claim.worker}
    and status = 'EXECUTING'
  `;
}

const unleased = sql`
  leased_by = null,
  lease_expires_at = null,
  holder_pid = null,
  updated_at = clock_timestamp()
`;

/** Takings since the last committed batch, this one included; 0 when it has committed one. */
export async function readTakings(db: Queryable, claim: Claim): Promise<number> {
  const { rows } = await db.query<{ takings: number }>(sql`
    select takings
    from flux.run_partitions
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
      and partition_no = ${claim.partitionNo}
  `);
  return rows[0]?.takings ?? claim.takings;
}

/** A partition's range, as its plan cut it. */
export async function readPartitionRange(db: Queryable, claim: Claim): Promise<Record<string, unknown>> {
  const { rows } = await db.query<{ range: Record<string, unknown> }>(sql`
    select range
    from flux.run_partitions
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
      and partition_no = ${claim.partitionNo}
  `);
  return rows[0]?.range ?? {};
}

/** Stores what has been done. A committed batch is progress, so the takings begin anew. False when the lease is lost. */
export async function advancePartition(
  tx: Queryable,
  claim: Claim,
  counts: PartitionCounts,
  { progress }: { progress: boolean },
): Promise<boolean> {
  const { rowCount } = await tx.query(sql`
    update flux.run_partitions
    set records_read = ${counts.read},
        records_written = ${counts.written},
        records_rejected = ${counts.rejected},
        records_filtered = ${counts.filtered},
        bytes_read = ${counts.bytes},
        takings = case when ${progress}::boolean then 0 else takings end,
        updated_at = clock_timestamp()
    where ${ours(claim)}
  `);
  return rowCount === 1;
}

/** Ends our partition. False when the lease is lost. */
export async function finishPartition(
  tx: Queryable,
  claim: Claim,
  status: 'COMPLETED' | 'FAILED' | 'CANCELLED',
): Promise<boolean> {
  const { rowCount } = await tx.query(sql`
    update flux.run_partitions
    set status = ${status},
        finished_at = clock_timestamp(),
        ${unleased}
    where ${ours(claim)}
  `);
  return rowCount === 1;
}

/**
 * Gives our partition back: to be taken after `delayMs`. False when the lease is lost.
 *
 * @param uncount a taking that ended in good order (a drain) does not count towards poison
 */
export async function returnPartition(
  tx: Queryable,
  claim: Claim,
  { delayMs, uncount }: { delayMs: number; uncount: boolean },
): Promise<boolean> {
  const { rowCount } = await tx.query(sql`
    update flux.run_partitions
    set status = 'AVAILABLE',
        available_at = clock_timestamp() + ${delayMs} * interval '1 millisecond',
        takings = greatest(takings - ${uncount ? 1 : 0}, 0),
        ${unleased}
    where ${ours(claim)}
  `);
  return rowCount === 1;
}

export interface NewPartition {
  partitionNo: number;
  kind: PartitionKind;
  range: Readonly<Record<string, unknown>>;
}

/** Adds partitions beside ours, of the same stage and priority. */
export async function insertPartitions(
  tx: Queryable,
  claim: Claim,
  partitions: readonly NewPartition[],
): Promise<void> {
  await tx.query(sql`
    insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage, priority, range)
    select own.agency_id, own.run_id, new."partitionNo", new.kind, own.stage, own.priority, new.range
    from flux.run_partitions own,
      jsonb_to_recordset(${JSON.stringify(partitions)}::jsonb) as new ("partitionNo" int, kind text, range jsonb)
    where own.agency_id = ${claim.agencyId}
      and own.run_id = ${claim.runId}
      and own.partition_no = ${claim.partitionNo}
  `);
}

/**
 * Adds the run's PUBLISH partition unless some BATCHES partition is still to be done. The caller holds the run's row lock,
 * so that of two that finish at once the second sees the first.
 *
 * @returns its number; null when there is more to do, or it is there already
 */
export async function insertPublishWhenDone(tx: Queryable, claim: Claim): Promise<number | null> {
  const { rows } = await tx.query<{ partition_no: number }>(sql`
    insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage, priority)
    select agency_id, run_id, max(partition_no) + 1, 'PUBLISH', min(stage), max(priority)
    from flux.run_partitions
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
    group by agency_id, run_id
    having bool_and(kind <> 'PUBLISH' and status = 'COMPLETED')
    returning partition_no
  `);
  return rows[0]?.partition_no ?? null;
}

/** Locks all partitions of a run in the order of their numbers, so that two that fail at once do not deadlock. */
export async function lockPartitions(tx: Queryable, claim: Claim): Promise<void> {
  await tx.query(sql`
    select
    from flux.run_partitions
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
    order by partition_no
    for no key update
  `);
}

/** Cancels what is left of a run beside our partition. @returns how many */
export async function cancelOtherPartitions(tx: Queryable, claim: Claim): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.run_partitions
    set status = 'CANCELLED',
        finished_at = clock_timestamp(),
        ${unleased}
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
      and partition_no <> ${claim.partitionNo}
      and status in ('AVAILABLE', 'EXECUTING')
  `);
  return rowCount;
}

/** Takes the run's row lock; the last lock of a transaction. */
export async function lockRun(tx: Queryable, claim: Claim): Promise<void> {
  await tx.query(sql`
    select
    from flux.runs
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
    for no key update
  `);
}

/** Writes what the plan found out about the source's size. The caller appends events next. */
export async function setRunTotals(
  tx: Queryable,
  claim: Claim,
  totals: { records: number | null; bytes: number },
): Promise<void> {
  await tx.query(sql`
    update flux.runs
    set records_total = ${totals.records},
        bytes_total = ${totals.bytes}
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
  `);
}
