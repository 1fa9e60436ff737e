/** The datasets that runs join, and the records of them that a run has pinned. */
import type { SnapshotColumn } from './lake-reference.ts';
import type { DatasetColumn } from './loads.ts';
import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import type { RunKey } from './run-events-append.ts';
import { sql } from './sql.ts';

/** A dataset as the session may know it. */
export interface JoinableDataset {
  name: string;
  columns: DatasetColumn[];
  /** Loads that are part of it. */
  loads: number;
  /** The highest of the runs that wrote them; null where there are none, or where one of these runs is not kept any more. */
  classification: number | null;
}

/** Those of the datasets that exist. */
export async function findJoinable(db: Queryable, names: readonly string[]): Promise<JoinableDataset[]> {
  const { rows } = await db.query<JoinableDataset>(sql`
    select
      d.name,
      d.columns,
      count(l.load_no)::int as loads,
      case when count(l.load_no) = count(r.run_id) then max(r.classification) end::int as classification
    from flux.datasets d
    left join flux.loads l on l.agency_id = d.agency_id and l.dataset = d.name and l.status = 'PUBLISHED'
    left join flux.runs r on r.agency_id = l.agency_id and r.run_id = l.run_id
    where d.agency_id = (select flux.current_agency())
      and d.name = any (${[...names]}::text[])
    group by d.agency_id, d.name
    order by d.name
  `);
  return rows;
}

/** A dataset's records as a run joins them: an object of the store, and what it holds. */
export interface RunReference {
  dataset: string;
  loads: number[];
  classification: number;
  columns: SnapshotColumn[];
  address: string;
  /** Lower-case hex. */
  sha256: string;
  byteCount: number;
  /** The data key that seals it; null: none. */
  keyVersion: number | null;
  records: number;
}

/** Keeps what our run joins, beside its plan. */
export async function insertReferences(
  tx: Queryable,
  claim: Claim,
  references: readonly RunReference[],
): Promise<void> {
  for (const [at, { dataset, loads, classification, columns, ...object }] of references.entries()) {
    await tx.query(sql`
      insert into flux.run_parts (agency_id, run_id, partition_no, version, address, sha256, byte_count, key_version,
        record_count, reference, reference_columns)
      values (${claim.agencyId}, ${claim.runId}, 0, ${at + 1}, ${object.address}, ${Buffer.from(object.sha256, 'hex')},
        ${object.byteCount}, ${object.keyVersion}::int, ${object.records},
        ${JSON.stringify({ dataset, loads, classification })}, ${JSON.stringify(columns)})
    `);
  }
}

/** What a run joins; none before its plan. */
export async function listReferences(db: Queryable, { agencyId, runId }: RunKey): Promise<RunReference[]> {
  const { rows } = await db.query<
    Omit<RunReference, 'byteCount' | 'records' | 'dataset' | 'loads' | 'classification'> & {
      byteCount: bigint;
      records: bigint;
      reference: Pick<RunReference, 'dataset' | 'loads' | 'classification'>;
    }
  >(sql`
    select reference, reference_columns as columns, address, encode(sha256, 'hex') as sha256, byte_count as "byteCount",
      key_version as "keyVersion", record_count as records
    from flux.run_parts
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and partition_no = 0
      and reference is not null
    order by version
  `);
  return rows.map(({ reference, byteCount, records, ...rest }) => ({
    ...rest,
    ...reference,
    byteCount: Number(byteCount),
    records: Number(records),
  }));
}
