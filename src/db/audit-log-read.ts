/** Heads, tiles and checkpoints, for verification: as an admin or the owner of any agency, as the API of its own. */
import type { Connection, Queryable } from './pool.ts';
import { sql } from './sql.ts';

export interface AuditHead {
  agency: string;
  size: bigint;
  peaks: Buffer;
  prunedThrough: bigint;
}

export async function listHeads(db: Queryable): Promise<AuditHead[]> {
  const { rows } = await db.query<AuditHead>(sql`
    select agency_id as agency, size, peaks, pruned_through as "prunedThrough"
    from flux.audit_heads
    order by agency_id
  `);
  return rows;
}

export async function readTile(
  db: Queryable,
  { agency, level, tileNo }: { agency: string; level: number; tileNo: number },
): Promise<Buffer | undefined> {
  const { rows } = await db.query<{ hashes: Buffer }>(sql`
    select hashes
    from flux.audit_tiles
    where agency_id = ${agency}
      and level = ${level}
      and tile_no = ${tileNo}
  `);
  return rows[0]?.hashes;
}

export interface StoredCheckpoint {
  agency: string;
  size: bigint;
  note: string;
  /** Its place in the log of logs, from 0. */
  logNo: bigint;
}

/** Every checkpoint that the session may see, in the order of the log of logs. */
export async function listAuditCheckpoints(db: Queryable): Promise<StoredCheckpoint[]> {
  const { rows } = await db.query<StoredCheckpoint>(sql`
    select agency_id as agency, size, note, log_no as "logNo"
    from flux.audit_checkpoints
    order by log_no
  `);
  return rows;
}

/** Shows the rest of the transaction one moment's state of every agency, also to an admin who is no superuser. */
export async function readAsOwner(tx: Connection, owner: string): Promise<void> {
  await tx.query(sql`set transaction isolation level repeatable read, read only`);
  await tx.query(sql`select set_config('role', ${owner}, true)`);
}
