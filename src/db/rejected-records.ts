import { setImmediate } from 'node:timers/promises';

import { BinaryArray } from './binary-array.ts';
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

/** Rows of one statement: keeps it well below a gigabyte, whatever a batch holds. */
const rowsPerStatement = 5_000;

/** Rows between two turns of the event loop: a fraction of a millisecond. */
const rowsPerTurn = 100;

/** Columns of the rows of one statement. */
type RejectedRows = Record<'recordNo' | 'byteOffset' | 'reasons' | 'raw' | 'sealed', Buffer>;

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
  const rows = {
    recordNo: new BinaryArray('bigint'),
    byteOffset: new BinaryArray('bigint'),
    reasons: new BinaryArray('text'),
    raw: new BinaryArray('text'),
    sealed: new BinaryArray('bytea'),
  };
  for (const [at, { recordNo, byteOffset, reasons, raw, sealed }] of records.entries()) {
    if (at % rowsPerTurn === 0) await setImmediate();
    rows.recordNo.addBigint(recordNo);
    if (byteOffset === null) rows.byteOffset.addNull();
    else rows.byteOffset.addBigint(byteOffset);
    rows.reasons.addText(toJsonb(reasons));
    if (raw === null) rows.raw.addNull();
    else rows.raw.addText(storableText(raw));
    if (sealed) rows.sealed.addBytes(sealed);
    else rows.sealed.addNull();
  }
  const { recordNo, byteOffset, reasons, raw, sealed } = rows;
  return {
    recordNo: recordNo.value(),
    byteOffset: byteOffset.value(),
    reasons: reasons.value(),
    raw: raw.value(),
    sealed: sealed.value(),
  };
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
