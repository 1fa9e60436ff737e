import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

export interface SealerState {
  /** A sealer holds the lease. */
  leads: boolean;
  /** Seconds since the last lease ended, 0 while one holds; null when there never was one. */
  silentSeconds: number | null;
  /** Age of the oldest entry that is not sealed; 0 when none waits. */
  waitingSeconds: number;
}

/** Runs as flux_api, flux_worker or flux_sealer, or as an admin. */
export async function sealerState(db: Queryable): Promise<SealerState> {
  const { rows } = await db.query<SealerState>(sql`
    select leads, silent_seconds as "silentSeconds", waiting_seconds as "waitingSeconds" from flux.sealer_state()
  `);
  return rows[0] as SealerState;
}
