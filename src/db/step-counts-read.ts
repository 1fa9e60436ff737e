import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** Records in and out of one step of a run, summed over its partitions. */
export interface StepTotals {
  runId: string;
  position: number;
  stage: string;
  step: string;
  kind: string;
  recordsIn: bigint;
  recordsOut: bigint;
  recordsRejected: bigint;
  recordsFiltered: bigint;
}

/** The steps of the given runs in the order in which records pass them. @param runIds at most 200 */
export async function sumSteps(db: Queryable, runIds: readonly string[]): Promise<StepTotals[]> {
  const { rows } = await db.query<StepTotals>(sql`
    select
      s.run_id as "runId",
      s.position,
      s.stage,
      s.step,
      s.kind,
      sum(s.records_in)::bigint as "recordsIn",
      sum(s.records_out)::bigint as "recordsOut",
      sum(s.records_rejected)::bigint as "recordsRejected",
      sum(s.records_filtered)::bigint as "recordsFiltered"
    from flux.runs r
    join flux.step_counts s on s.agency_id = r.agency_id and s.run_id = r.run_id
    where r.agency_id = (select flux.current_agency())
      and r.run_id = any(${[...runIds]}::uuid[])
    group by s.run_id, s.position, s.stage, s.step, s.kind
    order by s.run_id, s.position
  `);
  return rows;
}

/** One run's records in a dataset. */
export interface LoadOfRun {
  runId: string;
  dataset: string;
  loadNo: bigint;
  mode: string;
  status: string;
  /** By the destination's own count; null before it is published. */
  recordCount: bigint | null;
  /** Of these, how many merges of later loads have replaced. */
  replacedCount: bigint;
  openedAt: Date;
  publishedAt: Date | null;
}

/** Of `flux.loads l`. */
export const loadColumns = sql`
  l.run_id as "runId",
  l.dataset,
  l.load_no as "loadNo",
  l.mode,
  l.status,
  l.record_count as "recordCount",
  l.replaced_count as "replacedCount",
  l.opened_at as "openedAt",
  l.published_at as "publishedAt"
`;

/** The loads of the given runs, one of each at most. @param runIds at most 200 */
export async function listLoads(db: Queryable, runIds: readonly string[]): Promise<LoadOfRun[]> {
  const { rows } = await db.query<LoadOfRun>(sql`
    select ${loadColumns}
    from flux.runs r
    join flux.loads l on l.agency_id = r.agency_id and l.run_id = r.run_id
    where r.agency_id = (select flux.current_agency())
      and r.run_id = any(${[...runIds]}::uuid[])
  `);
  return rows;
}
