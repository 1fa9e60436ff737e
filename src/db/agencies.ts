import type { Agency } from './agencies-read.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** What the platform operator decides of an agency; the slug never changes. */
export interface AgencyRow {
  slug: string;
  name: string;
  abbreviation: string;
  supportedContentTypes: readonly string[];
  supportedUseCases: readonly string[];
  /** 0 (U) to 5 (SCI). */
  dataClassification: number;
  /** Days; 0 keeps without end. */
  retentionDays: number;
  retentionFloorDays: number;
  enabled: boolean;
  /** Quanta for one of an agency of weight 1, 1 to 100. */
  shareWeight: number;
  /** Most partitions at work at once; null is without cap. */
  executingCap: number | null;
}

/** An agency as the operator sees it. `open` is false after `flux agencies remove`. */
export interface ProvisionedAgency extends Agency {
  open: boolean;
}

const columns = sql`
  a.agency_id as "slug",
  a.name,
  a.abbreviation,
  a.supported_content_types as "supportedContentTypes",
  a.supported_use_cases as "supportedUseCases",
  a.data_classification as "dataClassification",
  a.retention_days as "retentionDays",
  a.retention_floor_days as "retentionFloorDays",
  a.enabled,
  a.share_weight as "shareWeight",
  a.executing_cap as "executingCap",
  a.legal_hold_since as "legalHoldSince",
  a.legal_hold_by as "legalHoldBy",
  a.legal_hold_reason as "legalHoldReason",
  a.version,
  a.created_at as "createdAt",
  a.updated_at as "updatedAt",
  exists (select from flux.agency_logins l where l.agency_id = a.agency_id) as "open"
`;

/** Every agency, by slug. As the admin only: row-level security hides all but one from everybody else. */
export async function listAgencies(db: Queryable): Promise<ProvisionedAgency[]> {
  const { rows } = await db.query<ProvisionedAgency>(sql`
    select ${columns}
    from flux.agencies a
    order by a.agency_id
  `);
  return rows;
}

export async function readAgency(db: Queryable, slug: string): Promise<ProvisionedAgency | null> {
  const { rows } = await db.query<ProvisionedAgency>(sql`
    select ${columns}
    from flux.agencies a
    where a.agency_id = ${slug}
  `);
  return rows[0] ?? null;
}

export async function insertAgency(db: Queryable, agency: AgencyRow): Promise<void> {
  await db.query(sql`
    insert into flux.agencies
      (agency_id, name, abbreviation, supported_content_types, supported_use_cases, data_classification, retention_days,
        retention_floor_days, enabled, share_weight, executing_cap)
    values (${agency.slug}, ${agency.name}, ${agency.abbreviation}, ${agency.supportedContentTypes},
      ${agency.supportedUseCases}, ${agency.dataClassification}, ${agency.retentionDays}, ${agency.retentionFloorDays},
      ${agency.enabled}, ${agency.shareWeight}, ${agency.executingCap})
  `);
}

/** Writes the operator's decisions over the present ones; the version rises by one. */
export async function updateAgencyRow(db: Queryable, agency: AgencyRow): Promise<void> {
  await db.query(sql`
    update flux.agencies
    set name = ${agency.name},
        abbreviation = ${agency.abbreviation},
        supported_content_types = ${agency.supportedContentTypes},
        supported_use_cases = ${agency.supportedUseCases},
        data_classification = ${agency.dataClassification},
        retention_days = ${agency.retentionDays},
        retention_floor_days = ${agency.retentionFloorDays},
        enabled = ${agency.enabled},
        share_weight = ${agency.shareWeight},
        executing_cap = ${agency.executingCap},
        version = version + 1,
        updated_at = clock_timestamp()
    where agency_id = ${agency.slug}
  `);
}

/** Runs of an agency that are not over. */
export async function countActiveRuns(db: Queryable, slug: string): Promise<bigint> {
  const { rows } = await db.query<{ count: bigint }>(sql`
    select count(*) as count
    from flux.runs
    where agency_id = ${slug}
      and status in ('PENDING', 'IN_PROGRESS', 'CANCELLING')
  `);
  return rows[0]?.count ?? 0n;
}

/** The name of the database, from which agencies' logins take theirs. */
export async function currentDatabase(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ name: string }>(sql`select current_database() as name`);
  return (rows[0] as { name: string }).name;
}
