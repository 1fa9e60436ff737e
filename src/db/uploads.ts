import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

export interface Upload {
  uploadId: string;
  name: string;
  status: 'OPEN' | 'COMPLETE' | 'ABANDONED';
  byteCount: bigint;
  received: bigint;
  /** Of the whole content; null until it is complete. */
  sha256: Buffer | null;
}

/** What one request brought, as an object of the store. */
export interface UploadPart {
  firstByte: bigint;
  byteCount: bigint;
  sha256: Buffer;
  address: string;
  /** Of the agency's records key; null: plain. */
  keyVersion: number | null;
}

const uploadColumns = sql`upload_id as "uploadId", name, status, byte_count as "byteCount", received, sha256`;

/** The upload of a name that goes on, or the newest complete one. @param lock until the transaction ends */
export async function findUpload(
  db: Queryable,
  name: string,
  status: 'OPEN' | 'COMPLETE',
  { lock = false }: { lock?: boolean } = {},
): Promise<Upload | null> {
  const { rows } = await db.query<Upload>(sql`
    select ${uploadColumns}
    from flux.uploads
    where agency_id = (select flux.current_agency())
      and name = ${name}
      and status = ${status}
    order by upload_id desc
    limit 1
    ${lock ? sql`for update` : sql``}
  `);
  return rows[0] ?? null;
}

/** @returns how many of the agency's uploads are open */
export async function countOpenUploads(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ count: number }>(sql`
    select count(*)::int as count
    from flux.uploads
    where agency_id = (select flux.current_agency())
      and status = 'OPEN'
  `);
  return rows[0]?.count ?? 0;
}

export async function insertUpload(
  tx: Queryable,
  upload: { name: string; byteCount: number; createdBy: string },
): Promise<Upload> {
  const { rows } = await tx.query<Upload>(sql`
    insert into flux.uploads (agency_id, name, byte_count, created_by)
    values (flux.current_agency(), ${upload.name}, ${upload.byteCount}, ${upload.createdBy})
    returning ${uploadColumns}
  `);
  return rows[0] as Upload;
}

/** Says what an upload has become. @param change.sha256 with COMPLETE */
export async function setUpload(
  tx: Queryable,
  uploadId: string,
  change: { status: Upload['status']; received: bigint; sha256?: Buffer | null },
): Promise<Upload> {
  const { rows } = await tx.query<Upload>(sql`
    update flux.uploads
    set status = ${change.status},
        received = ${change.received},
        sha256 = ${change.sha256 ?? null}::bytea,
        updated_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and upload_id = ${uploadId}
    returning ${uploadColumns}
  `);
  return rows[0] as Upload;
}

export async function insertUploadPart(tx: Queryable, uploadId: string, part: UploadPart): Promise<void> {
  await tx.query(sql`
    insert into flux.upload_parts (agency_id, upload_id, first_byte, byte_count, sha256, address, key_version)
    values (flux.current_agency(), ${uploadId}, ${part.firstByte}, ${part.byteCount}, ${part.sha256}, ${part.address},
      ${part.keyVersion}::int)
  `);
}

/** In the order of their bytes. */
export async function listUploadParts(db: Queryable, uploadId: string): Promise<UploadPart[]> {
  const { rows } = await db.query<UploadPart>(sql`
    select first_byte as "firstByte", byte_count as "byteCount", sha256, address, key_version as "keyVersion"
    from flux.upload_parts
    where agency_id = (select flux.current_agency())
      and upload_id = ${uploadId}
    order by first_byte
  `);
  return rows;
}

/** @returns how many uploads of the session's agency were forgotten */
export async function expireUploads(tx: Queryable, limit: number): Promise<number> {
  const { rows } = await tx.query<{ removed: bigint }>(sql`select flux.expire_uploads(${limit}) as removed`);
  return Number(rows[0]?.removed ?? 0n);
}
