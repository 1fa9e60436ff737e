import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** A record that a contract refused, with every reason. */
export interface StoredRejectedRecord {
  runId: string;
  /** The record's number in the source, from 1. */
  recordNo: bigint;
  partitionNo: number;
  byteOffset: bigint | null;
  contractName: string | null;
  contractVersion: number | null;
  reasons: { path: string; rule: string; message: string }[];
  raw: string | null;
  /** Raw and reasons, when they are sealed. */
  sealed: Buffer | null;
  /** Of the pinned source, lower-case hex; null when the run has none. */
  sourceSha256: string | null;
  /** The run that reprocessed it and has accounted for it. */
  landedBy: string | null;
  createdAt: Date;
}

/** Pages through a run's rejected records by their place in the source. @param limit rows, 1 to 201 */
export async function listRejectedRecords(
  db: Queryable,
  { runId, after, limit, backward }: { runId: string; after: bigint | null; limit: number; backward?: boolean },
): Promise<StoredRejectedRecord[]> {
  const { from, order } = direction(backward);
  const { rows } = await db.query<StoredRejectedRecord>(sql`
    select
      j.run_id as "runId",
      j.record_no as "recordNo",
      j.partition_no as "partitionNo",
      j.byte_offset as "byteOffset",
      j.contract_name as "contractName",
      j.contract_version as "contractVersion",
      j.reasons,
      j.raw,
      j.sealed,
      encode(o.sha256, 'hex') as "sourceSha256",
      j.landed_by as "landedBy",
      j.created_at as "createdAt"
    from flux.runs r
    join flux.rejected_records j on j.agency_id = r.agency_id and j.run_id = r.run_id
    left join flux.source_objects o on o.agency_id = r.agency_id and o.run_id = r.run_id
    where r.agency_id = (select flux.current_agency())
      and r.run_id = ${runId}
      and (${after}::bigint is null or j.record_no ${from} ${after})
    order by j.record_no ${order}
    limit ${limit}
  `);
  return rows;
}
