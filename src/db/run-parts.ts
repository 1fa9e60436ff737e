import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import type { RunKey } from './run-events-append.ts';
import type { RunStage } from './run-vocabulary.ts';
import { sql } from './sql.ts';

/** Typed records of one batch of a single stage, in the object store. */
export interface RunPart {
  address: string;
  /** Lower-case hex. */
  sha256: string;
  byteCount: number;
  /** The data key that seals it; null, or absent: none. */
  keyVersion?: number | null;
  records: number;
}

/** A column of a run's parts. */
export interface PartColumn {
  name: string;
  original: string;
  type: string;
}

/** Keeps the part of a batch, in the batch's transaction. @param version the batch number */
export async function insertPart(tx: Queryable, claim: Claim, version: number, part: RunPart): Promise<void> {
  await tx.query(sql`
    insert into flux.run_parts (agency_id, run_id, partition_no, version, address, sha256, byte_count, key_version,
      record_count)
    values (${claim.agencyId}, ${claim.runId}, ${claim.partitionNo}, ${version}, ${part.address},
      ${Buffer.from(part.sha256, 'hex')}, ${part.byteCount}, ${part.keyVersion ?? null}::int, ${part.records})
  `);
}

/** Removes our partition's parts after a batch. @returns how many records they held */
export async function deletePartsAfter(tx: Queryable, claim: Claim, version: number): Promise<number> {
  const { rows } = await tx.query<{ records: bigint }>(sql`
    with gone as (
      delete from flux.run_parts
      where agency_id = ${claim.agencyId}
        and run_id = ${claim.runId}
        and partition_no = ${claim.partitionNo}
        and version > ${version}
      returning record_count
    )
    select coalesce(sum(record_count), 0)::bigint as records
    from gone
  `);
  return Number(rows[0]?.records ?? 0n);
}

/** The parts of a run in the order of its records. What it joins is none of them. */
export async function listParts(db: Queryable, { agencyId, runId }: RunKey): Promise<RunPart[]> {
  const { rows } = await db.query<Omit<RunPart, 'byteCount' | 'records'> & { byteCount: bigint; records: bigint }>(sql`
    select address, encode(sha256, 'hex') as sha256, byte_count as "byteCount", key_version as "keyVersion", record_count as records
    from flux.run_parts
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and reference is null
    order by partition_no, version
  `);
  return rows.map((row) => ({ ...row, byteCount: Number(row.byteCount), records: Number(row.records) }));
}

/** Records in the parts of a run. */
export async function countPartRecords(db: Queryable, { agencyId, runId }: RunKey): Promise<number> {
  const { rows } = await db.query<{ records: bigint }>(sql`
    select coalesce(sum(record_count), 0)::bigint as records
    from flux.run_parts
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and reference is null
  `);
  return Number(rows[0]?.records ?? 0n);
}

/** Says what the parts of our run will hold. The caller appends events next. */
export async function setStagedColumns(tx: Queryable, claim: Claim, columns: readonly PartColumn[]): Promise<void> {
  await tx.query(sql`
    update flux.runs
    set staged_columns = ${JSON.stringify(columns)}
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
  `);
}

/** What a run's parts hold; null when it writes none. */
export async function readStagedColumns(db: Queryable, { agencyId, runId }: RunKey): Promise<PartColumn[] | null> {
  const { rows } = await db.query<{ columns: PartColumn[] | null }>(sql`
    select staged_columns as columns
    from flux.runs
    where agency_id = ${agencyId}
      and run_id = ${runId}
  `);
  return rows[0]?.columns ?? null;
}

/**
 * The newest completed run of one of the given stages of a pipeline, any version, that is no dry run. None above the given
 * classification: a pipeline that was lowered must not carry out what was classified higher.
 */
export async function findStageOutput(
  db: Queryable,
  { pipeline, stages, classification }: { pipeline: string; stages: readonly RunStage[]; classification: number },
): Promise<string | null> {
  const { rows } = await db.query<{ runId: string }>(sql`
    select run_id as "runId"
    from flux.runs
    where agency_id = (select flux.current_agency())
      and pipeline_name = ${pipeline}
      and stage = any (${[...stages]}::text[])
      and stage in ('INGEST', 'TRANSFORM')
      and status = 'COMPLETED'
      and classification <= ${classification}
      and staged_columns is not null
    order by finished_at desc, run_id desc
    limit 1
  `);
  return rows[0]?.runId ?? null;
}

/** Keeps what a dry run found. The caller appends events next. */
export async function setDryRunPlan(tx: Queryable, claim: Claim, plan: unknown): Promise<void> {
  await tx.query(sql`
    update flux.runs
    set dry_run_plan = ${JSON.stringify(plan)}
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
  `);
}

/** What a dry run found; null for any other run, and before it is done. */
export async function readDryRunPlan(db: Queryable, runId: string): Promise<unknown> {
  const { rows } = await db.query<{ plan: unknown }>(sql`
    select dry_run_plan as plan
    from flux.runs
    where agency_id = (select flux.current_agency())
      and run_id = ${runId}
  `);
  return rows[0]?.plan ?? null;
}
