import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** A schedule or a backfill that somebody has to look after now. */
export interface DueWork {
  kind: 'SCHEDULE' | 'BACKFILL';
  agencyId: string;
  id: string;
  /** The agency's login, under which it is done. */
  role: string;
}

/** What is due, of any agency, the longest due first. Runs as flux_worker. */
export async function findDueWork(db: Queryable, limit: number): Promise<DueWork[]> {
  const { rows } = await db.query<DueWork>(sql`
    select kind, agency_id as "agencyId", id, rw_role as role
    from flux.due_work(${limit})
  `);
  return rows;
}
