import { storableText, toJsonb } from './json.ts';
import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import type { NewRejectedRecord } from './rejected-records.ts';
import type { RunKey } from './run-events-append.ts';
import { sql } from './sql.ts';

/** Rejected records of a run that have not landed by another. */
export async function countOpenRejected(db: Queryable, { agencyId, runId }: RunKey): Promise<number> {
  const { rows } = await db.query<{ open: number }>(sql`
    select count(*)::int as open
    from flux.rejected_records
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and landed_by is null
  `);
  return rows[0]?.open ?? 0;
}

/** Of a run's rejected records that have not landed every so many-th, so that there are `limit` at most, in the order of their numbers; none is taken. */
export async function listOpenRejected(
  db: Queryable,
  { agencyId, runId }: RunKey,
  limit: number,
): Promise<{ recordNo: number; byteOffset: number | null }[]> {
  const { rows } = await db.query<{ recordNo: bigint; byteOffset: bigint | null }>(sql`
    select record_no as "recordNo", byte_offset as "byteOffset"
    from (
      select record_no, byte_offset, row_number() over (order by record_no) - 1 as place, count(*) over () as total
      from flux.rejected_records
      where agency_id = ${agencyId}
        and run_id = ${runId}
        and landed_by is null
    ) open
    where place % ceil(total / ${limit}::numeric)::bigint = 0
    order by record_no
  `);
  return rows.map(({ recordNo, byteOffset }) => ({
    recordNo: Number(recordNo),
    byteOffset: byteOffset === null ? null : Number(byteOffset),
  }));
}

/** A run that reprocesses the rejected records of another and is not over; null when there is none. */
export async function findActiveReprocessing(db: Queryable, { agencyId, runId }: RunKey): Promise<string | null> {
  const { rows } = await db.query<{ id: string }>(sql`
    select run_id as id
    from flux.runs
    where agency_id = ${agencyId}
      and reprocess_of = ${runId}
      and status in ('PENDING', 'IN_PROGRESS', 'CANCELLING')
    limit 1
  `);
  return rows[0]?.id ?? null;
}

/**
 * Takes the open rejected records of a run for ours: those that no other run holds, or whose holder is over. A run that lost
 * them to us cannot land them any more. In the order of their numbers.
 */
export async function claimRejected(
  tx: Queryable,
  claim: Claim,
  firstRun: string,
): Promise<{ recordNo: number; byteOffset: number | null }[]> {
  const { rows } = await tx.query<{ recordNo: bigint; byteOffset: bigint | null }>(sql`
    with claimed as (
      update flux.rejected_records j
      set claimed_by = ${claim.runId},
          refused_by = null
      where j.agency_id = ${claim.agencyId}
        and j.run_id = ${firstRun}
        and j.landed_by is null
        and not exists (
          select
          from flux.runs r
          where r.agency_id = j.agency_id
            and r.run_id = j.claimed_by
            and r.run_id <> ${claim.runId}
            and r.status in ('PENDING', 'IN_PROGRESS', 'CANCELLING')
        )
      returning record_no, byte_offset
    )
    select record_no as "recordNo", byte_offset as "byteOffset"
    from claimed
    order by record_no
  `);
  return rows.map(({ recordNo, byteOffset }) => ({
    recordNo: Number(recordNo),
    byteOffset: byteOffset === null ? null : Number(byteOffset),
  }));
}

/** Keeps the new verdict on records that we hold and that are broken still. @returns how many of them we hold */
export async function refuseAgain(
  tx: Queryable,
  claim: Claim,
  firstRun: string,
  contract: { name: string; version: number } | null,
  records: readonly NewRejectedRecord[],
): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.rejected_records j
    set refused_by = ${claim.runId},
        reasons = r.reasons::jsonb,
        raw = r.raw,
        sealed = r.sealed,
        contract_name = ${contract?.name ?? null},
        contract_version = ${contract?.version ?? null}::int
    from unnest(
      ${records.map(({ recordNo }) => recordNo)}::bigint[],
      ${records.map(({ reasons }) => toJsonb(reasons))}::text[],
      ${records.map(({ raw }) => (raw === null ? null : storableText(raw)))}::text[],
      ${records.map(({ sealed }) => sealed ?? null)}::bytea[]
    ) as r (record_no, reasons, raw, sealed)
    where j.agency_id = ${claim.agencyId}
      and j.run_id = ${firstRun}
      and j.record_no = r.record_no
      and j.claimed_by = ${claim.runId}
      and j.landed_by is null
  `);
  return rowCount;
}

/** What we hold of another run's rejected records, and how many of them are broken still. Locks them until the transaction ends. */
export async function lockClaimed(
  tx: Queryable,
  claim: Claim,
  firstRun: string,
): Promise<{ held: number; refused: number }> {
  const { rows } = await tx.query<{ held: number; refused: number }>(sql`
    with held as (
      select refused_by
      from flux.rejected_records
      where agency_id = ${claim.agencyId}
        and run_id = ${firstRun}
        and claimed_by = ${claim.runId}
        and landed_by is null
      for update
    )
    select count(*)::int as held, count(refused_by)::int as refused
    from held
  `);
  return rows[0] as { held: number; refused: number };
}

/** Says of the records that we hold and found good that they have landed by us. @returns how many */
export async function landClaimed(tx: Queryable, claim: Claim, firstRun: string): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.rejected_records
    set landed_by = ${claim.runId}
    where agency_id = ${claim.agencyId}
      and run_id = ${firstRun}
      and claimed_by = ${claim.runId}
      and refused_by is null
      and landed_by is null
  `);
  return rowCount;
}

/** Whether a run's load is part of its dataset now. */
export async function isLoadVisible(db: Queryable, { agencyId, runId }: RunKey): Promise<boolean> {
  const { rows } = await db.query(sql`
    select
    from flux.loads
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and status = 'PUBLISHED'
  `);
  return rows.length === 1;
}

/** The ranges that a run was read in, in order. */
export async function listRanges(db: Queryable, { agencyId, runId }: RunKey): Promise<Record<string, unknown>[]> {
  const { rows } = await db.query<{ range: Record<string, unknown> }>(sql`
    select range
    from flux.run_partitions
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and kind = 'BATCHES'
    order by partition_no
  `);
  return rows.map(({ range }) => range);
}
