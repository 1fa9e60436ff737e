import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import type { StepStage } from './run-vocabulary.ts';
import { sql } from './sql.ts';

/** A step's records over a whole partition or run. */
export interface StepTotal {
  stage: StepStage;
  step: string;
  kind: 'read' | 'validate' | 'row' | 'filter' | 'deduplicate' | 'join' | 'aggregate' | 'query' | 'write';
  recordsIn: number;
  recordsOut: number;
  recordsRejected: number;
  recordsFiltered: number;
}

/** Sets the counts of a partition's steps, in the order of the data: absolute numbers, so that writing them again is safe. */
export async function setStepCounts(tx: Queryable, claim: Claim, steps: readonly StepTotal[]): Promise<void> {
  await tx.query(sql`
    insert into flux.step_counts
      (agency_id, run_id, partition_no, position, stage, step, kind, records_in, records_out, records_rejected, records_filtered)
    select ${claim.agencyId}, ${claim.runId}, ${claim.partitionNo}, t.position, t.s ->> 'stage', t.s ->> 'step', t.s ->> 'kind',
      (t.s ->> 'recordsIn')::bigint, (t.s ->> 'recordsOut')::bigint, (t.s ->> 'recordsRejected')::bigint,
      (t.s ->> 'recordsFiltered')::bigint
    from jsonb_array_elements(${JSON.stringify(steps)}::jsonb) with ordinality as t (s, position)
    on conflict (agency_id, run_id, partition_no, position) do update
    set records_in = excluded.records_in,
        records_out = excluded.records_out,
        records_rejected = excluded.records_rejected,
        records_filtered = excluded.records_filtered
  `);
}

/** The counts of a run's steps over all its partitions, in the order of the data. */
export async function sumStepCounts(db: Queryable, claim: Claim): Promise<StepTotal[]> {
  const { rows } = await db.query<Record<keyof StepTotal, string>>(sql`
    select
      min(stage) as stage,
      min(step) as step,
      min(kind) as kind,
      sum(records_in)::text as "recordsIn",
      sum(records_out)::text as "recordsOut",
      sum(records_rejected)::text as "recordsRejected",
      sum(records_filtered)::text as "recordsFiltered"
    from flux.step_counts
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
    group by position
    order by position
  `);
  return rows.map((row) => ({
    stage: row.stage as StepTotal['stage'],
    step: row.step,
    kind: row.kind as StepTotal['kind'],
    recordsIn: Number(row.recordsIn),
    recordsOut: Number(row.recordsOut),
    recordsRejected: Number(row.recordsRejected),
    recordsFiltered: Number(row.recordsFiltered),
  }));
}
