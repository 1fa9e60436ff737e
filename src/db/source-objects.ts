import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import { sql } from './sql.ts';

/** A run's pinned source. */
export interface SourceObject {
  /** Lower-case hex. */
  sha256: string;
  byteCount: number;
  address: string;
  connectionName: string;
  origin: string;
  mediaType: string;
  modifiedAt: Date | null;
  /** The data key's version under which it was pinned; null, or absent, for plain bytes. */
  keyVersion?: number | null;
}

export async function insertSourceObject(tx: Queryable, claim: Claim, object: SourceObject): Promise<void> {
  await tx.query(sql`
    insert into flux.source_objects
      (agency_id, run_id, sha256, byte_count, address, connection_name, origin, media_type, modified_at,
        key_version)
    values (${claim.agencyId}, ${claim.runId}, ${Buffer.from(object.sha256, 'hex')}, ${object.byteCount}, ${object.address},
      ${object.connectionName}, ${object.origin}, ${object.mediaType}, ${object.modifiedAt}, ${object.keyVersion ?? null}::int)
  `);
}

/** The object that a run's plan has pinned; null before. */
export async function findSourceObject(db: Queryable, claim: Claim): Promise<SourceObject | null> {
  const { rows } = await db.query<Omit<SourceObject, 'byteCount'> & { byteCount: bigint }>(sql`
    select
      encode(sha256, 'hex') as sha256,
      byte_count as "byteCount",
      address,
      connection_name as "connectionName",
      origin,
      media_type as "mediaType",
      modified_at as "modifiedAt",
      key_version as "keyVersion"
    from flux.source_objects
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
  `);
  const row = rows[0];
  return row ? { ...row, byteCount: Number(row.byteCount) } : null;
}
