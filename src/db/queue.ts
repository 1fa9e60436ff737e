import type { Queryable } from './pool.ts';
import type { PartitionKind, RunStage } from './run-vocabulary.ts';
import { sql } from './sql.ts';

/** A partition that this worker holds until its lease runs out. `epoch` fences every write made for it. */
export interface Claim {
  agencyId: string;
  runId: string;
  partitionNo: number;
  kind: PartitionKind;
  stage: RunStage;
  epoch: number;
  /** Takings since the last committed batch, this one included. */
  takings: number;
  /** Whether the holder before let its lease run out. */
  takenOver: boolean;
  /** The agency's login, under which the partition must be worked. */
  role: string;
}

/** Takes one free or abandoned partition of any agency; null when there is no work. Runs as flux_worker. */
export async function claimPartition(db: Queryable, worker: { id: string; leaseMs: number }): Promise<Claim | null> {
  const { rows } = await db.query<Claim>(sql`
    select
      agency_id as "agencyId",
      run_id as "runId",
      partition_no as "partitionNo",
      kind,
      stage,
      epoch,
      takings,
      taken_over as "takenOver",
      rw_role as role
    from flux.claim_partition(${worker.id}, ${worker.leaseMs})
  `);
  return rows[0] ?? null;
}

/** Extends a lease that is still ours. `held` false is final: the lease is lost. Runs as flux_worker. */
export async function heartbeat(
  db: Queryable,
  { agencyId, runId, partitionNo, epoch }: Claim,
  leaseMs: number,
): Promise<{ held: boolean; cancelRequested: boolean }> {
  const { rows } = await db.query<{ held: boolean; cancelRequested: boolean }>(sql`
    select
      flux.heartbeat(${agencyId}, ${runId}, ${partitionNo}, ${epoch}, ${leaseMs}) as held,
      flux.cancel_requested(${agencyId}, ${runId}, ${partitionNo}, ${epoch}) as "cancelRequested"
  `);
  return rows[0] as { held: boolean; cancelRequested: boolean };
}

/** Ends the backends that still hold an expired lease, of any agency. Runs as flux_worker. @returns how many */
export async function rescuePartitions(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ ended: number }>(sql`select flux.rescue_partitions() as ended`);
  return rows[0]?.ended ?? 0;
}

/** Partitions that a worker could take now, over all agencies. Runs as flux_worker. */
export async function queueDepth(db: Queryable): Promise<bigint> {
  const { rows } = await db.query<{ depth: bigint }>(sql`select flux.queue_depth() as depth`);
  return rows[0]?.depth ?? 0n;
}
