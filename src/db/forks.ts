import { loadTableName } from './lake.ts';
import type { DatasetColumn, LoadMode } from './loads.ts';
import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import type { RunKey } from './run-events-append.ts';
import { ident, join, sql } from './sql.ts';

/** A partition of a run as it stood when a checkpoint was saved. */
export interface ForkedPartition {
  partitionNo: number;
  range: Record<string, unknown>;
  /** The checkpoint that it stood at; null when it had none that verifies now. */
  checkpoint: { version: number; status: string; body: Buffer; hash: Buffer } | null;
  /** The records of its batches up to there; null when they held none. */
  span: { first: bigint; last: bigint } | null;
}

/**
 * The BATCHES partitions of a run as they stood when one of their checkpoints was saved: that partition at that checkpoint, the
 * others at the last one that the run's history has before it.
 */
export async function readForkedPartitions(
  db: Queryable,
  { agencyId, runId }: RunKey,
  at: { partitionNo: number; version: number },
): Promise<ForkedPartition[]> {
  const { rows } = await db.query<{
    partitionNo: number;
    range: Record<string, unknown>;
    version: number | null;
    status: string;
    body: Buffer;
    hash: Buffer;
    first: bigint | null;
    last: bigint | null;
  }>(sql`
    with chosen as (
      select max(seq) as seq
      from flux.run_events
      where agency_id = ${agencyId}
        and run_id = ${runId}
        and name = 'CheckpointSaved'
        and partition_no = ${at.partitionNo}
        and (data ->> 'version')::int = ${at.version}
    )
    select p.partition_no as "partitionNo", p.range, v.version, v.status, v.body, v.hash, span.first, span.last
    from flux.run_partitions p
    cross join chosen
    left join lateral (
      select c.version, c.status, c.body, c.hash
      from flux.checkpoints c
      where c.agency_id = p.agency_id
        and c.run_id = p.run_id
        and c.partition_no = p.partition_no
        and c.version <= case
          when p.partition_no = ${at.partitionNo} then ${at.version}
          else (
            select max((e.data ->> 'version')::int)
            from flux.run_events e
            where e.agency_id = p.agency_id
              and e.run_id = p.run_id
              and e.partition_no = p.partition_no
              and e.name = 'CheckpointSaved'
              and e.seq <= chosen.seq
          )
        end
        and flux.validate_checkpoint_integrity(c.checkpoint_id) = 'VERIFIED'
      order by c.version desc
      limit 1
    ) v on true
    left join lateral (
      select min((e.data ->> 'firstRecord')::bigint) as first, max((e.data ->> 'lastRecord')::bigint) as last
      from flux.run_events e
      where e.agency_id = p.agency_id
        and e.run_id = p.run_id
        and e.partition_no = p.partition_no
        and e.name = 'BatchCommitted'
        and (e.data ->> 'batch')::int <= v.version
    ) span on true
    where p.agency_id = ${agencyId}
      and p.run_id = ${runId}
      and p.kind = 'BATCHES'
    order by p.partition_no
  `);
  return rows.map(({ partitionNo, range, version, status, body, hash, first, last }) => ({
    partitionNo,
    range,
    checkpoint: version === null ? null : { version, status, body, hash },
    span: first === null || last === null ? null : { first, last },
  }));
}

/** What a run planned: its load, with the columns in the order of its files, and what its PlanMade event says. */
export interface ForkedPlan {
  dataset: string;
  loadNo: bigint;
  mode: LoadMode;
  status: 'OPEN' | 'PUBLISHED' | 'SUPERSEDED';
  columns: DatasetColumn[];
  recordsTotal: bigint | null;
  bytesTotal: bigint | null;
  plan: { steps?: { stage: string; step: string; kind: string }[] };
}

/** Null when the run has no plan yet, or does not exist for the session. */
export async function readForkedPlan(db: Queryable, runId: string): Promise<ForkedPlan | null> {
  const { rows } = await db.query<Omit<ForkedPlan, 'columns'> & { names: string[]; known: DatasetColumn[] }>(sql`
    select
      l.dataset,
      l.load_no as "loadNo",
      l.mode,
      l.status,
      l.columns as names,
      d.columns as known,
      r.records_total as "recordsTotal",
      r.bytes_total as "bytesTotal",
      coalesce((
        select e.data
        from flux.run_events e
        where e.agency_id = r.agency_id
          and e.run_id = r.run_id
          and e.name = 'PlanMade'
      ), '{}') as plan
    from flux.runs r
    join flux.loads l on l.agency_id = r.agency_id and l.run_id = r.run_id
    join flux.datasets d on d.agency_id = l.agency_id and d.name = l.dataset
    where r.agency_id = (select flux.current_agency())
      and r.run_id = ${runId}
  `);
  const row = rows[0];
  if (!row) return null;
  const { names, known, ...plan } = row;
  return {
    ...plan,
    columns: names.map((name) => known.find((column) => column.name === name) ?? { name, type: 'text' }),
  };
}

/** Copies the rows of a span of records from one load into another of the same dataset. @returns how many */
export async function copyLoadRows(
  tx: Queryable,
  { schema, dataset, columns }: { schema: string; dataset: string; columns: readonly string[] },
  loads: { from: bigint; to: bigint },
  span: { first: bigint; last: bigint },
): Promise<number> {
  const names = join(['_flux_record', ...columns].map((name) => ident(name)));
  const table = (loadNo: bigint) => ident(schema, loadTableName({ dataset, loadNo }));
  const { rowCount } = await tx.query(sql`
    insert into ${table(loads.to)} (${names})
    select ${names}
    from ${table(loads.from)}
    where _flux_record between ${span.first} and ${span.last}
  `);
  return rowCount;
}

/** Copies a partition's rejected records of a span from another run. @returns how many */
export async function copyRejectedRecords(
  tx: Queryable,
  { agencyId, runId, partitionNo }: Claim,
  fromRunId: string,
  span: { first: bigint; last: bigint },
): Promise<number> {
  const { rowCount } = await tx.query(sql`
    insert into flux.rejected_records
      (agency_id, run_id, record_no, partition_no, byte_offset, contract_name, contract_version, reasons, raw,
        sealed)
    select agency_id, ${runId}, record_no, ${partitionNo}, byte_offset, contract_name, contract_version, reasons, raw,
      sealed
    from flux.rejected_records
    where agency_id = ${agencyId}
      and run_id = ${fromRunId}
      and partition_no = ${partitionNo}
      and record_no between ${span.first} and ${span.last}
  `);
  return rowCount;
}

/** Gives a partition that nobody has taken yet what another run has done of it. */
export async function placePartition(
  tx: Queryable,
  { agencyId, runId, partitionNo }: Claim,
  counts: { read: number; written: number; rejected: number; filtered: number; bytes: number },
  { completed }: { completed: boolean },
): Promise<void> {
  await tx.query(sql`
    update flux.run_partitions
    set records_read = ${counts.read},
        records_written = ${counts.written},
        records_rejected = ${counts.rejected},
        records_filtered = ${counts.filtered},
        bytes_read = ${counts.bytes},
        status = case when ${completed}::boolean then 'COMPLETED' else status end,
        finished_at = case when ${completed}::boolean then clock_timestamp() end,
        updated_at = clock_timestamp()
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and partition_no = ${partitionNo}
  `);
}
