import { setImmediate } from 'node:timers/promises';

import { storableText, toJsonb } from './json.ts';
import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import { sql } from './sql.ts';

export interface NewRejectedRecord {
  recordNo: number;
  byteOffset: number | null;
  reasons: readonly { path: string; rule: string; message: string }[];
  raw: string | null;
  /** Holds raw and reasons; then those are null and empty. */
  sealed?: Buffer | null;
}

/** Rows of one statement: keeps its text well below a gigabyte, whatever a batch holds. */
const rowsPerStatement = 5_000;

/** Rows between two turns of the event loop: a fraction of a millisecond. */
const rowsPerTurn = 100;

/** Columns of the rows of one statement, as PostgreSQL writes arrays. */
type RejectedRows = Record<'recordNo' | 'byteOffset' | 'reasons' | 'raw' | 'sealed', string>;

/** Rejected records of which those of the first statement, mostly all, are written as they are sent. */
export interface WrittenRejected {
  records: readonly NewRejectedRecord[];
  first: RejectedRows | null;
}

/**
 * Writes rejected records as they are sent, in short turns of the event loop: while the good ones are copied this costs no time, and
 * afterwards the server would wait for it.
 */
export async function writeRejected(records: readonly NewRejectedRecord[]): Promise<WrittenRejected> {
  return { records, first: records.length === 0 ? null : await writeRows(records.slice(0, rowsPerStatement)) };
}

async function writeRows(records: readonly NewRejectedRecord[]): Promise<RejectedRows> {
  const rows: RejectedRows = { recordNo: '', byteOffset: '', reasons: '', raw: '', sealed: '' };
  for (const [at, { recordNo, byteOffset, reasons, raw, sealed }] of records.entries()) {
    if (at % rowsPerTurn === 0) await setImmediate();
    const separator = at === 0 ? '{' : ',';
    rows.recordNo += `${separator}${String(recordNo)}`;
    rows.byteOffset += `${separator}${byteOffset === null ? 'NULL' : String(byteOffset)}`;
    rows.reasons += `${separator}${element(toJsonb(reasons))}`;
    rows.raw += `${separator}${raw === null ? 'NULL' : element(storableText(raw))}`;
    rows.sealed += `${separator}${sealed ? element(`\\x${sealed.toString('hex')}`) : 'NULL'}`;
  }
  for (const name of Object.keys(rows) as (keyof RejectedRows)[]) rows[name] += '}';
  return rows;
}

/** PostgreSQL manual 8.15.6: in quotes, with a backslash before quotes and backslashes. */
function element(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** Keeps records that a contract refused. @throws 23505 a record number is there already */
export async function insertRejectedRecords(
  tx: Queryable,
  claim: Claim,
  contract: { name: string; version: number } | null,
  { records, first }: WrittenRejected,
): Promise<void> {
  if (first === null) return;
  await insertRows(tx, claim, contract, first);
  for (let at = rowsPerStatement; at < records.length; at += rowsPerStatement) {
    await insertRows(tx, claim, contract, await writeRows(records.slice(at, at + rowsPerStatement)));
  }
}

async function insertRows(
  tx: Queryable,
  claim: Claim,
  contract: { name: string; version: number } | null,
  { recordNo, byteOffset, reasons, raw, sealed }: RejectedRows,
): Promise<void> {
  await tx.query(sql`
    insert into flux.rejected_records
      (agency_id, run_id, partition_no, contract_name, contract_version, record_no, byte_offset, reasons, raw, sealed)
    select ${claim.agencyId}, ${claim.runId}, ${claim.partitionNo}, ${contract?.name ?? null}, ${contract?.version ?? null}::int,
      record_no, byte_offset, reasons::jsonb, raw, sealed
    from unnest(${recordNo}::bigint[], ${byteOffset}::bigint[], ${reasons}::text[], ${raw}::text[], ${sealed}::bytea[])
      as r (record_no, byte_offset, reasons, raw, sealed)
  `);
}

/** Rejected records of a run. */
export async function countRejectedRecords(db: Queryable, claim: Claim): Promise<number> {
  const { rows } = await db.query<{ count: bigint }>(sql`
    select count(*) as count
    from flux.rejected_records
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
  `);
  return Number(rows[0]?.count ?? 0n);
}

/** Removes a partition's rejected records of a span of record numbers. @returns how many */
export async function deleteRejectedRecords(
  tx: Queryable,
  claim: Claim,
  span: { first: bigint; last: bigint },
): Promise<number> {
  const { rowCount } = await tx.query(sql`
    delete from flux.rejected_records
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
      and partition_no = ${claim.partitionNo}
      and record_no between ${span.first} and ${span.last}
  `);
  return rowCount;
}
