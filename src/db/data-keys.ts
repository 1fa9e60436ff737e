import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** What a data key is for: `objects` are files of the object store, `records` what stands in tables. */
export type KeyPurpose = 'objects' | 'records';
export const keyPurposes: readonly KeyPurpose[] = ['objects', 'records'];

/** A data key as it is kept. */
export interface WrappedDataKey {
  purpose: KeyPurpose;
  version: number;
  /** Null once it is destroyed. */
  kekId: string | null;
  wrapped: Buffer | null;
  createdAt: Date;
  destroyedAt: Date | null;
}

/** An agency's data keys, destroyed ones too, the newest first. As its tenant or its login; the API sees `records` only. */
export async function listDataKeys(db: Queryable, agency: string, purpose?: KeyPurpose): Promise<WrappedDataKey[]> {
  const { rows } = await db.query<WrappedDataKey>(sql`
    select purpose, version, kek_id as "kekId", wrapped, created_at as "createdAt", destroyed_at as "destroyedAt"
    from flux.data_keys
    where agency_id = ${agency}
      and (${purpose ?? null}::text is null or purpose = ${purpose ?? null})
    order by purpose, version desc
  `);
  return rows;
}

export async function insertDataKey(
  tx: Queryable,
  agency: string,
  key: { purpose: KeyPurpose; version: number; kekId: string; wrapped: Buffer },
): Promise<void> {
  await tx.query(sql`
    insert into flux.data_keys (agency_id, purpose, version, kek_id, wrapped)
    values (${agency}, ${key.purpose}, ${key.version}, ${key.kekId}, ${key.wrapped})
  `);
}

/** Keeps the same data key under another key encryption key. */
export async function rewrapDataKey(
  tx: Queryable,
  agency: string,
  key: { purpose: KeyPurpose; version: number; kekId: string; wrapped: Buffer },
): Promise<void> {
  await tx.query(sql`
    update flux.data_keys
    set kek_id = ${key.kekId}, wrapped = ${key.wrapped}
    where agency_id = ${agency}
      and purpose = ${key.purpose}
      and version = ${key.version}
      and destroyed_at is null
  `);
}

/** Destroys all data keys of an agency: their wrapped bytes are overwritten with nothing, their rows stay. @returns how many */
export async function destroyDataKeys(tx: Queryable, agency: string): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.data_keys
    set kek_id = null, wrapped = null, destroyed_at = clock_timestamp()
    where agency_id = ${agency}
      and destroyed_at is null
  `);
  return rowCount;
}
