import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** What the database says of an entry before its bytes exist: the bytes repeat it. */
export interface AuditStamp {
  entryId: string;
  agencyId: string;
  /** UTC with microseconds, as the bytes hold it; a JavaScript Date would lose three digits. */
  at: string;
}

export async function stampAuditEntry(db: Queryable): Promise<AuditStamp> {
  const { rows } = await db.query<AuditStamp>(sql`
    select flux.uuid_v7() as "entryId",
      flux.current_agency() as "agencyId",
      to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
  `);
  return rows[0] as AuditStamp;
}

export interface AuditRow extends AuditStamp {
  actor: string;
  role: string;
  action: string;
  resourceType: string;
  resourceId: string | null;
  success: boolean;
  errorCode: string | null;
  /** RFC 8785 canonical JSON of the whole entry. */
  body: Buffer;
}

export async function insertAuditEntry(db: Queryable, row: AuditRow): Promise<void> {
  await db.query(sql`
    insert into flux.audit_entries
      (agency_id, entry_id, at, actor, role, action, resource_type, resource_id, success, error_code, body)
    values (${row.agencyId}, ${row.entryId}, ${row.at}::timestamptz, ${row.actor}, ${row.role}, ${row.action},
      ${row.resourceType}, ${row.resourceId}, ${row.success}, ${row.errorCode}, ${row.body})
  `);
}
