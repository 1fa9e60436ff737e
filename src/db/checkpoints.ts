import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import { sql } from './sql.ts';

export interface NewCheckpoint {
  /** The batch number, from 1. */
  version: number;
  status: 'IN_PROGRESS' | 'COMPLETED';
  step: string;
  /** RFC 8785 canonical JSON. */
  body: Buffer;
  /** SHA-256 of `body`. */
  hash: Buffer;
}

/**
 * Stores a checkpoint in the batch's transaction; it expires with the agency's retention.
 *
 * @returns its id
 * @throws FX001 digest, place or chain do not match
 * @throws 23505 the version exists: this batch has happened before
 */
export async function saveCheckpoint(tx: Queryable, claim: Claim, checkpoint: NewCheckpoint): Promise<string> {
  const { rows } = await tx.query<{ id: string }>(sql`
    select flux.save_checkpoint(${claim.runId}, ${claim.partitionNo}, ${checkpoint.version}, ${claim.epoch},
      ${checkpoint.status}, ${checkpoint.step}, ${checkpoint.body}, ${checkpoint.hash},
      (
        select clock_timestamp() + retention_days * interval '1 day'
        from flux.agencies
        where agency_id = ${claim.agencyId}
          and retention_days > 0
      )) as id
  `);
  return (rows[0] as { id: string }).id;
}

export interface StoredCheckpoint {
  version: number;
  checkpointId: string;
  epoch: number;
  status: string;
  body: Buffer;
  hash: Buffer;
  /** Newer versions that did not verify, newest first. */
  corrupted: number[];
}

/**
 * The newest checkpoint of a partition that verifies; null when none was ever saved.
 *
 * @throws FX001 there are checkpoints and every one is corrupted
 */
export async function loadCheckpoint(db: Queryable, claim: Claim): Promise<StoredCheckpoint | null> {
  const { rows } = await db.query<StoredCheckpoint>(sql`
    select version, checkpoint_id as "checkpointId", epoch, status, body, hash, corrupted
    from flux.load_checkpoint(${claim.runId}, ${claim.partitionNo})
  `);
  return rows[0] ?? null;
}

/** Recomputes a checkpoint's digest, place and chain; null when there is none of that id. */
export async function validateCheckpoint(
  db: Queryable,
  checkpointId: string,
): Promise<'VERIFIED' | 'CORRUPTED' | null> {
  const { rows } = await db.query<{ integrity: 'VERIFIED' | 'CORRUPTED' | null }>(sql`
    select flux.validate_checkpoint_integrity(${checkpointId}) as integrity
  `);
  return rows[0]?.integrity ?? null;
}

/** Removes the versions after one, which did not verify. @returns how many */
export async function deleteCheckpointsAfter(tx: Queryable, claim: Claim, version: number): Promise<number> {
  const { rowCount } = await tx.query(sql`
    delete from flux.checkpoints
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
      and partition_no = ${claim.partitionNo}
      and version > ${version}
  `);
  return rowCount;
}

/** Removes expired checkpoints of finished runs of the session's agency. @param limit partitions @returns rows removed */
export async function cleanupExpiredCheckpoints(db: Queryable, limit: number): Promise<bigint> {
  const { rows } = await db.query<{ removed: bigint }>(sql`
    select flux.cleanup_expired_checkpoints(${limit}) as removed
  `);
  return rows[0]?.removed ?? 0n;
}

/**
 * The record numbers of the batches after a version, from the run's history; null when none was committed. Checkpoints that
 * do not verify cannot say it themselves.
 */
export async function recordsCommittedAfter(
  db: Queryable,
  claim: Claim,
  version: number,
): Promise<{ first: bigint; last: bigint } | null> {
  const { rows } = await db.query<{ first: bigint | null; last: bigint | null }>(sql`
    select min((data ->> 'firstRecord')::bigint) as first, max((data ->> 'lastRecord')::bigint) as last
    from flux.run_events
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
      and partition_no = ${claim.partitionNo}
      and name = 'BatchCommitted'
      and (data ->> 'batch')::int > ${version}
  `);
  const { first, last } = rows[0] as { first: bigint | null; last: bigint | null };
  return first === null || last === null ? null : { first, last };
}
