import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { literal, type Sql, sql } from './sql.ts';

/** A sealed entry. What it says stands in `body`; the other columns repeat it. */
export interface SealedEntry {
  /** Gapless within the agency, from 1. */
  seq: bigint;
  entryId: string;
  /** UTC with microseconds, as the body has it. */
  at: string;
  actor: string;
  role: string;
  action: string;
  resourceType: string;
  resourceId: string | null;
  success: boolean;
  errorCode: string | null;
  /** RFC 8785 canonical JSON of the whole entry. */
  body: Buffer;
  /** SHA-256(0x00 || body). */
  leafHash: Buffer;
}

const columns = sql`
  seq,
  entry_id as "entryId",
  to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at,
  actor,
  role,
  action,
  resource_type as "resourceType",
  resource_id as "resourceId",
  success,
  error_code as "errorCode",
  body,
  leaf_hash as "leafHash"
`;

export interface SealedEntryFilter {
  actor?: string | null | undefined;
  action?: string | null | undefined;
  resourceType?: string | null | undefined;
  resourceId?: string | null | undefined;
  success?: boolean | null | undefined;
  from?: Date | null | undefined;
  /** Exclusive. */
  until?: Date | null | undefined;
}

/** Entries of the session's agency after a number, in order. @param limit rows, 1 to 1000 */
export async function listSealedEntries(
  db: Queryable,
  {
    afterSeq,
    limit,
    filter = {},
    backward,
  }: { afterSeq: bigint | null; limit: number; filter?: SealedEntryFilter; backward?: boolean },
): Promise<SealedEntry[]> {
  const { from, order } = direction(backward);
  const { rows } = await db.query<SealedEntry>(sql`
    select ${columns}
    from flux.audit_entries
    where agency_id = (select flux.current_agency())
      and (${afterSeq}::bigint is null or seq ${from} ${afterSeq})
      ${conditions(filter)}
    order by seq ${order}
    limit ${limit}
  `);
  return rows;
}

function conditions({ actor, action, resourceType, resourceId, success, from, until }: SealedEntryFilter): Sql {
  const given = [
    isAbsent(actor) ? sql`` : sql`and actor = ${actor}`,
    isAbsent(action) ? sql`` : sql`and action = ${action}`,
    isAbsent(resourceType) ? sql`` : sql`and resource_type = ${resourceType}`,
    isAbsent(resourceId) ? sql`` : sql`and resource_id = ${resourceId}`,
    isAbsent(success) ? sql`` : sql`and success = ${success}`,
    isAbsent(from) ? sql`` : sql`and at >= ${from}`,
    isAbsent(until) ? sql`` : sql`and at < ${until}`,
  ];
  return given.reduce((all, one) => sql`${all} ${one}`);
}

function isAbsent(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

/**
 * The entries of any agency, as an admin or the owner, in batches, as they are stored: also numbers that repeat. Needs an open
 * transaction; one reading at a time.
 */
export async function* readAgencyEntries(
  tx: Queryable,
  agency: string,
  throughSeq: bigint | null,
): AsyncGenerator<SealedEntry[], void, void> {
  const end = throughSeq === null ? sql`` : sql`and seq <= ${literal(String(throughSeq))}::bigint`;
  await tx.query(sql`
    declare flux_audit no scroll cursor for
    select ${columns}
    from flux.audit_entries
    where agency_id = ${literal(agency)}
    ${end}
    order by seq
  `);
  try {
    for (;;) {
      const { rows } = await tx.query<SealedEntry>(sql`fetch 1000 from flux_audit`);
      if (rows.length === 0) return;
      yield rows;
    }
  } finally {
    await tx.query(sql`close flux_audit`).catch(() => undefined);
  }
}

/** An entry of the session's agency by its number. */
export async function findSealedEntry(db: Queryable, seq: bigint): Promise<SealedEntry | null> {
  const { rows } = await db.query<SealedEntry>(sql`
    select ${columns}
    from flux.audit_entries
    where agency_id = (select flux.current_agency())
      and seq = ${seq}
  `);
  return rows[0] ?? null;
}

export interface SealedBounds {
  /** Up to where retention has removed entries; 0 when it has not. */
  prunedThrough: bigint;
  /** The newest entry, also when retention has removed it; 0 when nothing was sealed. */
  lastSeq: bigint;
}

/** Where the log of the session's agency begins and ends. */
export async function sealedBounds(db: Queryable): Promise<SealedBounds> {
  const { rows } = await db.query<SealedBounds>(sql`
    select pruned_through as "prunedThrough", size as "lastSeq"
    from flux.audit_heads
    where agency_id = (select flux.current_agency())
  `);
  return rows[0] ?? { prunedThrough: 0n, lastSeq: 0n };
}
