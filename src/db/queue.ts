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
  /** The worker that holds it: the other half of the fence. */
  worker: string;
}

/** Batches after which a partition gives its turn up, unless a setting says otherwise. */
export const quantumDefault = 10;

/**
 * Takes one abandoned or free partition: the agency by weighted deficit round robin below its cap, in it the highest
 * priority, then the oldest run. Null when there is no work. Runs as flux_worker.
 *
 * The claim charges the agency one batch; keepTurn and chargeTurn charge the others.
 *
 * @param quantum batches that an agency with something at work may be behind
 */
export async function claimPartition(
  db: Queryable,
  { id, leaseMs, quantum = quantumDefault }: { id: string; leaseMs: number; quantum?: number },
): Promise<Claim | null> {
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
      rw_role as role,
      ${id}::text as worker
    from flux.claim_partition(${id}, ${leaseMs}, ${quantum})
  `);
  return rows[0] ?? null;
}

/** Extends a lease that is still ours. `held` false is final: the lease is lost. Runs as flux_worker. */
export async function heartbeat(
  db: Queryable,
  { agencyId, runId, partitionNo, epoch, worker }: Claim,
  leaseMs: number,
): Promise<{ held: boolean; cancelRequested: boolean }> {
  const { rows } = await db.query<{ held: boolean; cancelRequested: boolean }>(sql`
    select
      flux.heartbeat(${agencyId}, ${runId}, ${partitionNo}, ${epoch}, ${worker}, ${leaseMs}) as held,
      flux.cancel_requested(${agencyId}, ${runId}, ${partitionNo}, ${epoch}) as "cancelRequested"
  `);
  return rows[0] as { held: boolean; cancelRequested: boolean };
}

/**
 * At the end of a quantum: charges `batches` to the agency. True: the queue would give us the same partition again. False:
 * somebody else's turn has come, so give it back. Runs as flux_worker.
 */
export async function keepTurn(
  db: Queryable,
  { agencyId, runId, partitionNo, epoch, worker }: Claim,
  { quantum, batches }: { quantum: number; batches: number },
): Promise<boolean> {
  const { rows } = await db.query<{ kept: boolean }>(sql`
    select flux.keep_turn(${agencyId}, ${runId}, ${partitionNo}, ${epoch}, ${worker}, ${quantum}, ${batches}) as kept
  `);
  return rows[0]?.kept ?? false;
}

/** Charges an agency batches that no claim and no keepTurn has charged. Runs as flux_worker. */
export async function chargeTurn(db: Queryable, { agencyId }: Claim, batches: number): Promise<void> {
  await db.query(sql`select flux.charge_turn(${agencyId}, ${batches})`);
}

/** Says that a worker is there, is stopping, or has gone (null). Runs as flux_worker. */
export async function reportWorker(db: Queryable, id: string, state: 'WORKING' | 'DRAINING' | null): Promise<void> {
  await db.query(sql`select flux.report_worker(${id}, ${state})`);
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
