import type { DatasetColumn } from './loads.ts';
import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { type Sql, sql } from './sql.ts';
import { type LoadOfRun, loadColumns } from './step-counts-read.ts';

/** A table of an agency's lake, with what the caller may see of it. */
export interface Dataset {
  name: string;
  columns: DatasetColumn[];
  /** Published loads. */
  loadCount: number;
  /** Records that stand in them. */
  recordCount: bigint;
  createdAt: Date;
  /** When the newest of them was published; null while there is none. */
  publishedAt: Date | null;
}

/**
 * A dataset is there for those who may see a run that has written to it: the policy of flux.loads asks for the run, and that of
 * flux.runs for the clearance.
 */
const datasets = (condition: Sql): Sql => sql`
  select
    d.name,
    d.columns,
    count(*) filter (where l.status = 'PUBLISHED')::int as "loadCount",
    coalesce(sum(l.record_count - l.replaced_count) filter (where l.status = 'PUBLISHED'), 0)::bigint as "recordCount",
    d.created_at as "createdAt",
    max(l.published_at) filter (where l.status = 'PUBLISHED') as "publishedAt"
  from flux.datasets d
  join flux.loads l on l.agency_id = d.agency_id and l.dataset = d.name
  where d.agency_id = (select flux.current_agency())
    and ${condition}
  group by d.agency_id, d.name
`;

export async function readDataset(db: Queryable, name: string): Promise<Dataset | null> {
  const { rows } = await db.query<Dataset>(datasets(sql`d.name = ${name}`));
  return rows[0] ?? null;
}

/** Pages through the datasets by name. @param limit rows, 1 to 201 */
export async function listDatasets(
  db: Queryable,
  { after, limit, backward }: { after: string | null; limit: number; backward?: boolean },
): Promise<Dataset[]> {
  const { from, order } = direction(backward);
  const { rows } = await db.query<Dataset>(sql`
    ${datasets(sql`(${after}::text is null or d.name ${from} ${after ?? ''})`)}
    order by d.name ${order}
    limit ${limit}
  `);
  return rows;
}

/** Pages through a dataset's loads, the newest first. @param limit rows, 1 to 201 */
export async function listLoadsOf(
  db: Queryable,
  { dataset, after, limit, backward }: { dataset: string; after: bigint | null; limit: number; backward?: boolean },
): Promise<LoadOfRun[]> {
  const { against, reverse } = direction(backward);
  const { rows } = await db.query<LoadOfRun>(sql`
    select ${loadColumns}
    from flux.loads l
    where l.agency_id = (select flux.current_agency())
      and l.dataset = ${dataset}
      and (${after}::bigint is null or l.load_no ${against} ${after})
    order by l.load_no ${reverse}
    limit ${limit}
  `);
  return rows;
}

/**
 * A published load that the caller may see, and the name of the database that holds it.
 *
 * @param loadNo null is the newest
 */
export async function findPublishedLoad(
  db: Queryable,
  dataset: string,
  loadNo: bigint | null,
): Promise<{ loadNo: bigint; database: string } | null> {
  const { rows } = await db.query<{ loadNo: bigint; database: string }>(sql`
    select load_no as "loadNo", current_database() as database
    from flux.loads
    where agency_id = (select flux.current_agency())
      and dataset = ${dataset}
      and status = 'PUBLISHED'
      and (${loadNo}::bigint is null or load_no = ${loadNo})
    order by load_no desc
    limit 1
  `);
  return rows[0] ?? null;
}
