import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

export const checkpointStatuses = ['PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED'] as const;

/** A stored checkpoint with what its bytes say now. */
export interface StoredCheckpoint {
  id: string;
  runId: string;
  partitionNo: number;
  version: number;
  epoch: number;
  status: (typeof checkpointStatuses)[number];
  step: string;
  /** The canonical JSON as stored; not to be trusted unless `integrity` is VERIFIED. */
  body: Buffer;
  hash: Buffer;
  previousHash: Buffer | null;
  integrity: 'VERIFIED' | 'CORRUPTED';
  createdAt: Date;
  expiresAt: Date | null;
}

// The SHA-256 is recomputed at every read: a stored verdict would go on saying VERIFIED of bytes that changed later.
const checkpointColumns = sql`
  c.checkpoint_id as "id",
  c.run_id as "runId",
  c.partition_no as "partitionNo",
  c.version,
  c.epoch,
  c.status,
  c.step,
  c.body,
  c.hash,
  c.previous_hash as "previousHash",
  flux.validate_checkpoint_integrity(c.checkpoint_id) as "integrity",
  c.created_at as "createdAt",
  c.expires_at as "expiresAt"
`;

export async function findCheckpoint(db: Queryable, checkpointId: string): Promise<StoredCheckpoint | null> {
  const { rows } = await db.query<StoredCheckpoint>(sql`
    select ${checkpointColumns}
    from flux.checkpoints c
    join flux.runs r on r.agency_id = c.agency_id and r.run_id = c.run_id
    where c.agency_id = (select flux.current_agency())
      and c.checkpoint_id = ${checkpointId}
  `);
  return rows[0] ?? null;
}

/** A version of a partition's checkpoints; null when there is none, or retention has removed it. */
export async function findCheckpointAt(
  db: Queryable,
  { runId, partitionNo, version }: { runId: string; partitionNo: number; version: number },
): Promise<StoredCheckpoint | null> {
  const { rows } = await db.query<StoredCheckpoint>(sql`
    select ${checkpointColumns}
    from flux.checkpoints c
    join flux.runs r on r.agency_id = c.agency_id and r.run_id = c.run_id
    where c.agency_id = (select flux.current_agency())
      and c.run_id = ${runId}
      and c.partition_no = ${partitionNo}
      and c.version = ${version}
  `);
  return rows[0] ?? null;
}

/** Pages through a run's checkpoints by partition and version. @param limit rows, 1 to 201 */
export async function listCheckpoints(
  db: Queryable,
  {
    runId,
    after,
    limit,
    backward,
  }: { runId: string; after: { partitionNo: number; version: number } | null; limit: number; backward?: boolean },
): Promise<StoredCheckpoint[]> {
  const { from, order } = direction(backward);
  const partitionNo = after?.partitionNo ?? null;
  const version = after?.version ?? null;
  const { rows } = await db.query<StoredCheckpoint>(sql`
    select ${checkpointColumns}
    from flux.runs r
    join flux.checkpoints c on c.agency_id = r.agency_id and c.run_id = r.run_id
    where r.agency_id = (select flux.current_agency())
      and r.run_id = ${runId}
      and (${partitionNo}::int is null or (c.partition_no, c.version) ${from} (${partitionNo}::int, ${version}::int))
    order by c.partition_no ${order}, c.version ${order}
    limit ${limit}
  `);
  return rows;
}
