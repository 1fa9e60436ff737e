import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import { sql } from './sql.ts';

/** A column of a dataset, in order. */
export interface DatasetColumn {
  name: string;
  type: string;
}

export type LoadMode = 'append' | 'replace' | 'merge';

/** One run's rows in a dataset. */
export interface Load {
  dataset: string;
  loadNo: bigint;
  mode: LoadMode;
  /** The names of the run's output, in the order of its files. */
  columns: readonly string[];
}

/**
 * Gives the dataset's next load number, under the dataset's row lock; the first use makes the dataset.
 *
 * @returns the number, and the columns that the dataset has, which are those offered only when it is new
 */
export async function nextLoad(
  tx: Queryable,
  claim: Claim,
  dataset: { name: string; columns: readonly DatasetColumn[] },
): Promise<{ loadNo: bigint; columns: DatasetColumn[] }> {
  const { rows } = await tx.query<{ loadNo: bigint; columns: DatasetColumn[] }>(sql`
    insert into flux.datasets as d (agency_id, name, columns, last_load)
    values (${claim.agencyId}, ${dataset.name}, ${JSON.stringify(dataset.columns)}, 1)
    on conflict (agency_id, name) do update
    set last_load = d.last_load + 1,
        updated_at = clock_timestamp()
    returning last_load as "loadNo", columns
  `);
  return rows[0] as { loadNo: bigint; columns: DatasetColumn[] };
}

/** Notes the columns that a dataset has now. The caller holds the dataset's row lock. */
export async function setDatasetColumns(
  tx: Queryable,
  claim: Claim,
  { name, columns }: { name: string; columns: readonly DatasetColumn[] },
): Promise<void> {
  await tx.query(sql`
    update flux.datasets
    set columns = ${JSON.stringify(columns)}
    where agency_id = ${claim.agencyId}
      and name = ${name}
  `);
}

export async function insertLoad(tx: Queryable, claim: Claim, load: Load): Promise<void> {
  await tx.query(sql`
    insert into flux.loads (agency_id, dataset, load_no, run_id, mode, columns)
    values (${claim.agencyId}, ${load.dataset}, ${load.loadNo}, ${claim.runId}, ${load.mode}, ${JSON.stringify(load.columns)})
  `);
}

/** The load that a run's plan has opened; null before. */
export async function findLoad(db: Queryable, claim: Claim): Promise<Load | null> {
  const { rows } = await db.query<Load>(sql`
    select dataset, load_no as "loadNo", mode, columns
    from flux.loads
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
  `);
  return rows[0] ?? null;
}

/** Locks a dataset until the transaction ends, so that loads of one dataset are published one after the other. */
export async function lockDataset(tx: Queryable, claim: Claim, dataset: string): Promise<void> {
  await tx.query(sql`
    select
    from flux.datasets
    where agency_id = ${claim.agencyId}
      and name = ${dataset}
    for no key update
  `);
}

/** Marks the published loads of a dataset as superseded. @returns their numbers */
export async function supersedeLoads(tx: Queryable, claim: Claim, dataset: string): Promise<bigint[]> {
  const { rows } = await tx.query<{ loadNo: bigint }>(sql`
    update flux.loads
    set status = 'SUPERSEDED'
    where agency_id = ${claim.agencyId}
      and dataset = ${dataset}
      and status = 'PUBLISHED'
    returning load_no as "loadNo"
  `);
  return rows.map(({ loadNo }) => loadNo);
}

/** Marks our load as published. False when it was not open. */
export async function publishLoad(tx: Queryable, claim: Claim, recordCount: number): Promise<boolean> {
  const { rowCount } = await tx.query(sql`
    update flux.loads
    set status = 'PUBLISHED',
        record_count = ${recordCount},
        published_at = clock_timestamp()
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
      and status = 'OPEN'
  `);
  return rowCount === 1;
}

/** Adds to what later loads have replaced of each load. The caller holds the dataset's row lock. */
export async function countReplaced(
  tx: Queryable,
  claim: Claim,
  dataset: string,
  replaced: readonly { loadNo: bigint; count: bigint }[],
): Promise<void> {
  await tx.query(sql`
    update flux.loads l
    set replaced_count = l.replaced_count + r.count
    from unnest(${replaced.map(({ loadNo }) => loadNo)}::bigint[], ${replaced.map(({ count }) => count)}::bigint[]) as r (load_no, count)
    where l.agency_id = ${claim.agencyId}
      and l.dataset = ${dataset}
      and l.load_no = r.load_no
  `);
}
