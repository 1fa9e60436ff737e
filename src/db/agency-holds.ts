import type { Agency } from './agencies-read.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** Why nothing of an agency expires. */
export interface LegalHold {
  since: Date;
  by: string;
  reason: string;
}

/**
 * Waits for an expiry that is under way, and lets none begin until the transaction ends: the lock of flux.retention_cutoff()
 * (migrations/0015).
 */
export async function holdRetention(tx: Queryable): Promise<void> {
  await tx.query(sql`select pg_advisory_xact_lock(x'666c0010'::int, hashtext(flux.current_agency()))`);
}

/** Sets or, with null, lifts the hold of the session's agency; the version rises by one. */
export async function writeLegalHold(tx: Queryable, hold: Pick<LegalHold, 'by' | 'reason'> | null): Promise<void> {
  await tx.query(sql`
    update flux.agencies
    set legal_hold_since = case when ${hold !== null}::boolean then clock_timestamp() end,
        legal_hold_by = ${hold?.by ?? null},
        legal_hold_reason = ${hold?.reason ?? null},
        version = version + 1,
        updated_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
  `);
}

/** The hold of an agency's row; null when none is set. */
export function legalHoldOf(
  agency: Pick<Agency, 'legalHoldSince' | 'legalHoldBy' | 'legalHoldReason'>,
): LegalHold | null {
  const { legalHoldSince: since, legalHoldBy: by, legalHoldReason: reason } = agency;
  return since === null || by === null || reason === null ? null : { since, by, reason };
}
