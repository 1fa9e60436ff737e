import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** What is wrong with a checkpoint, as flux.checkpoint_problem has it; LOST: the history saved it and it is not stored. */
export type CheckpointProblem = 'DIGEST' | 'PLACE' | 'CHAIN' | 'HISTORY' | 'LAST_EVENT' | 'LOST';

export interface CheckpointFault {
  partitionNo: number;
  version: number;
  problem: CheckpointProblem;
}

export interface CheckpointVerification {
  /** Those that are stored. */
  checkpointCount: number;
  /** By partition and version, at most `faultsMax`. */
  faults: CheckpointFault[];
}

const faultsMax = 1_000; // as many as an answer should hold

/** Recomputes all checkpoints of a run, and holds them against its history. None when the run does not exist for the session. */
export async function verifyCheckpoints(db: Queryable, runId: string): Promise<CheckpointVerification> {
  const { rows } = await db.query<{ checkpointCount: number; faults: CheckpointFault[] }>(sql`
    with run as (
      select agency_id, run_id
      from flux.runs
      where agency_id = (select flux.current_agency())
        and run_id = ${runId}
    ),
    stored as (
      select c.partition_no, c.version, flux.checkpoint_problem(c) as problem
      from run
      join flux.checkpoints c using (agency_id, run_id)
    ),
    lost as (
      select p.partition_no, v.version, 'LOST' as problem
      from run
      join flux.run_partitions p using (agency_id, run_id)
      cross join lateral generate_series(1, flux.expected_checkpoint(p.run_id, p.partition_no)) as v (version)
      where not exists (select from stored s where s.partition_no = p.partition_no and s.version = v.version)
    ),
    faults as (
      select * from stored where problem is not null
      union all
      select * from lost
      order by partition_no, version
      limit ${faultsMax}
    )
    select
      (select count(*)::int from stored) as "checkpointCount",
      (
        select coalesce(jsonb_agg(jsonb_build_object('partitionNo', partition_no, 'version', version, 'problem', problem)
          order by partition_no, version), '[]')
        from faults
      ) as faults
  `);
  return rows[0] as CheckpointVerification;
}
