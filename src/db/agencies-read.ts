import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

export interface Agency {
  slug: string;
  name: string;
  abbreviation: string;
  supportedContentTypes: string[];
  supportedUseCases: string[];
  /** Highest classification held, 0 (U) to 5 (SCI). */
  dataClassification: number;
  /** Days; 0 keeps without end. */
  retentionDays: number;
  retentionFloorDays: number;
  enabled: boolean;
  /** Quanta for one of an agency of weight 1, 1 to 100. */
  shareWeight: number;
  /** Most partitions at work at once; null is without cap. */
  executingCap: number | null;
  /** Since when nothing of it expires; null when no legal hold is set. */
  legalHoldSince: Date | null;
  legalHoldBy: string | null;
  legalHoldReason: string | null;
  version: bigint;
  createdAt: Date;
  updatedAt: Date;
}

const agencyColumns = sql`
  agency_id as "slug",
  name,
  abbreviation,
  supported_content_types as "supportedContentTypes",
  supported_use_cases as "supportedUseCases",
  data_classification as "dataClassification",
  retention_days as "retentionDays",
  retention_floor_days as "retentionFloorDays",
  enabled,
  share_weight as "shareWeight",
  executing_cap as "executingCap",
  legal_hold_since as "legalHoldSince",
  legal_hold_by as "legalHoldBy",
  legal_hold_reason as "legalHoldReason",
  version,
  created_at as "createdAt",
  updated_at as "updatedAt"
`;

/** The session's own agency; null when it has been removed. */
export async function readOwnAgency(db: Queryable): Promise<Agency | null> {
  const { rows } = await db.query<Agency>(sql`
    select ${agencyColumns}
    from flux.agencies
    where agency_id = (select flux.current_agency())
  `);
  return rows[0] ?? null;
}

export interface AgencyChange {
  name: string;
  abbreviation: string;
  retentionDays: number;
}

/** Locks the agency's row until the transaction ends, so that a change is compared with what it replaces. */
export async function lockOwnAgency(db: Queryable): Promise<Agency | null> {
  const { rows } = await db.query<Agency>(sql`
    select ${agencyColumns}
    from flux.agencies
    where agency_id = (select flux.current_agency())
    for no key update
  `);
  return rows[0] ?? null;
}

/** Writes what an agency's admin may change; the version rises by one. */
export async function updateOwnAgency(db: Queryable, change: AgencyChange): Promise<Agency | null> {
  const { rows } = await db.query<Agency>(sql`
    update flux.agencies
    set name = ${change.name},
        abbreviation = ${change.abbreviation},
        retention_days = ${change.retentionDays},
        version = version + 1,
        updated_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
    returning ${agencyColumns}
  `);
  return rows[0] ?? null;
}
