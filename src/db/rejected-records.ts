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

/** Keeps records that a contract refused. @throws 23505 a record number is there already */
export async function insertRejectedRecords(
  tx: Queryable,
  claim: Claim,
  contract: { name: string; version: number } | null,
  records: readonly NewRejectedRecord[],
): Promise<void> {
  for (let at = 0; at < records.length; at += rowsPerStatement) {
    const part = records.slice(at, at + rowsPerStatement);
    await tx.query(sql`
      insert into flux.rejected_records
        (agency_id, run_id, partition_no, contract_name, contract_version, record_no, byte_offset, reasons, raw, sealed)
      select ${claim.agencyId}, ${claim.runId}, ${claim.partitionNo}, ${contract?.name ?? null}, ${contract?.version ?? null}::int,
        record_no, byte_offset, reasons::jsonb, raw, sealed
      from unnest(
        ${part.map(({ recordNo }) => recordNo)}::bigint[],
        ${part.map(({ byteOffset }) => byteOffset)}::bigint[],
        ${part.map(({ reasons }) => toJsonb(reasons))}::text[],
        ${part.map(({ raw }) => (raw === null ? null : storableText(raw)))}::text[],
        ${part.map(({ sealed }) => sealed ?? null)}::bytea[]
      ) as r (record_no, byte_offset, reasons, raw, sealed)
    `);
  }
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
