/** The statements of the sealer: calls of functions, for its login may touch no table. */
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

export interface SealerTree {
  agency: string;
  size: bigint;
  peaks: Buffer;
  signedSize: bigint | null;
  note: string | null;
}

/**
 * Takes or renews the lease, and holds its row until the transaction ends.
 *
 * @param epoch null takes a free lease @returns the epoch; null when another sealer leads
 */
export async function leadAudit(
  db: Queryable,
  { sealer, epoch, leaseMs }: { sealer: string; epoch: bigint | null; leaseMs: number },
): Promise<bigint | null> {
  const { rows } = await db.query<{ epoch: bigint | null }>(
    sql`select flux.lead_audit(${sealer}, ${epoch}, ${leaseMs}) as epoch`,
  );
  return rows[0]?.epoch ?? null;
}

export async function auditState(db: Queryable): Promise<SealerTree[]> {
  const { rows } = await db.query<SealerTree>(sql`
    select agency_id as agency, size, peaks, signed_size as "signedSize", note
    from flux.audit_state()
  `);
  return rows;
}

export async function logOfLogsState(db: Queryable): Promise<{ size: bigint; peaks: Buffer; note: string | null }> {
  const { rows } = await db.query<{ size: bigint; peaks: Buffer; note: string | null }>(
    sql`select size, peaks, note from flux.audit_log_of_logs_state()`,
  );
  return rows[0] as { size: bigint; peaks: Buffer; note: string | null };
}

export async function sealerTile(
  db: Queryable,
  { agency, level, tileNo }: { agency: string; level: number; tileNo: number },
): Promise<Buffer | undefined> {
  const { rows } = await db.query<{ hashes: Buffer | null }>(
    sql`select flux.audit_tile(${agency}, ${level}, ${tileNo}) as hashes`,
  );
  return rows[0]?.hashes ?? undefined;
}

export interface WaitingEntry {
  agency: string;
  entryId: string;
  body: Buffer;
}

/** @param except agencies that are left alone */
export async function takeInbox(db: Queryable, limit: number, except: readonly string[]): Promise<WaitingEntry[]> {
  const { rows } = await db.query<WaitingEntry>(sql`
    select agency_id as agency, entry_id as "entryId", body
    from flux.take_audit_inbox(${limit}, ${except})
  `);
  return rows;
}

/** @throws FX003 another sealer leads; FX004 an entry is not in the inbox any more */
export async function sealEntries(
  db: Queryable,
  epoch: bigint,
  entries: readonly { agency: string; entryId: string; seq: number; leaf: Buffer }[],
): Promise<void> {
  await db.query(sql`
    select flux.seal_audit(
      ${epoch},
      ${entries.map(({ agency }) => agency)},
      ${entries.map(({ entryId }) => entryId)},
      ${entries.map(({ seq }) => seq)},
      ${Buffer.concat(entries.map(({ leaf }) => leaf))}
    )
  `);
}

export interface GrownTree {
  agency: string;
  from: number;
  to: number;
  /** Hex of the peaks before and after. */
  before: string;
  peaks: string;
}

export interface GrownTile {
  agency: string;
  level: number;
  tile: number;
  /** Hex of the hashes to append. */
  hashes: string;
}

/** @throws FX003 another sealer leads; FX004 a head is not the one that the tree grew from */
export async function growTrees(
  db: Queryable,
  epoch: bigint,
  trees: readonly GrownTree[],
  tiles: readonly GrownTile[],
): Promise<void> {
  await db.query(
    sql`select flux.grow_audit_trees(${epoch}, ${JSON.stringify(trees)}::jsonb, ${JSON.stringify(tiles)}::jsonb)`,
  );
}

export interface NewCheckpoint {
  agency: string;
  size: number;
  /** Hex. */
  root: string;
  note: string;
}

/** @param log the log of logs after these: the size it grew from, its peaks and signed note */
export async function signTrees(
  db: Queryable,
  epoch: bigint,
  checkpoints: readonly NewCheckpoint[],
  log: { from: number; peaks: Buffer; note: string },
): Promise<void> {
  await db.query(sql`
    select flux.sign_audit(${epoch}, ${JSON.stringify(checkpoints)}::jsonb, ${log.from}, ${log.peaks}, ${log.note})
  `);
}

/** What the installation calls itself. */
export async function installationName(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ name: string }>(sql`select role_prefix as name from flux.installation`);
  return rows[0]?.name ?? 'flux';
}
