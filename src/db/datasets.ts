import type { DatasetColumn } from './loads.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** A dataset as its readers see it now. */
export interface DatasetState {
  columns: DatasetColumn[];
  /** Loads that are part of it. */
  loads: number;
  /** Records by the loads' own counts; a later merge may have taken some of them. */
  records: bigint;
}

/** Null when no run has made it yet. */
export async function findDataset(db: Queryable, name: string): Promise<DatasetState | null> {
  const { rows } = await db.query<DatasetState>(sql`
    select
      d.columns,
      count(l.load_no)::int as loads,
      coalesce(sum(l.record_count), 0)::bigint as records
    from flux.datasets d
    left join flux.loads l on l.agency_id = d.agency_id and l.dataset = d.name and l.status = 'PUBLISHED'
    where d.agency_id = (select flux.current_agency())
      and d.name = ${name}
    group by d.agency_id, d.name
  `);
  return rows[0] ?? null;
}
