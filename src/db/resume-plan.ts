import type { Queryable } from './pool.ts';
import type { RunKey } from './run-events-append.ts';
import type { PartitionKind, PartitionStatus } from './run-vocabulary.ts';
import { sql } from './sql.ts';

/** A partition with the newest of its checkpoints that verifies, if it has one. */
export interface PartitionStand {
  partitionNo: number;
  kind: PartitionKind;
  status: PartitionStatus;
  epoch: number;
  recordsRead: bigint;
  checkpoint: { id: string; version: number; body: Buffer; hash: Buffer } | null;
  /** Newer versions that do not verify, or that the run's history has and the table has not; newest first. */
  corrupted: number[];
}

/** Where every partition of a run stands, by number; none when the run does not exist for the session. */
export async function readPartitionStands(db: Queryable, runId: string): Promise<PartitionStand[]> {
  const { rows } = await db.query<
    Omit<PartitionStand, 'checkpoint'> & { id: string | null; version: number; body: Buffer; hash: Buffer }
  >(sql`
    select
      p.partition_no as "partitionNo",
      p.kind,
      p.status,
      p.epoch,
      p.records_read as "recordsRead",
      v.checkpoint_id as id,
      v.version,
      v.body,
      v.hash,
      array(
        select generate_series(
          greatest(
            flux.expected_checkpoint(p.run_id, p.partition_no),
            (
              select max(c.version)
              from flux.checkpoints c
              where c.agency_id = p.agency_id
                and c.run_id = p.run_id
                and c.partition_no = p.partition_no
            )
          ),
          coalesce(v.version, 0) + 1,
          -1
        )
      ) as corrupted
    from flux.runs r
    join flux.run_partitions p on p.agency_id = r.agency_id and p.run_id = r.run_id
    left join lateral (
      select c.checkpoint_id, c.version, c.body, c.hash
      from flux.checkpoints c
      where c.agency_id = p.agency_id
        and c.run_id = p.run_id
        and c.partition_no = p.partition_no
        and flux.validate_checkpoint_integrity(c.checkpoint_id) = 'VERIFIED'
      order by c.version desc
      limit 1
    ) v on true
    where r.agency_id = (select flux.current_agency())
      and r.run_id = ${runId}
    order by p.partition_no
  `);
  return rows.map(({ id, version, body, hash, ...stand }) => ({
    ...stand,
    checkpoint: id === null ? null : { id, version, body, hash },
  }));
}

/** Makes the partitions that were not completed free again. Their epochs stay: the next taking raises them. @returns how many */
export async function reopenPartitions(tx: Queryable, { agencyId, runId }: RunKey): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.run_partitions
    set status = 'AVAILABLE',
        takings = 0,
        available_at = clock_timestamp(),
        cancel_by = null,
        leased_by = null,
        lease_expires_at = null,
        holder_pid = null,
        finished_at = null,
        updated_at = clock_timestamp()
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and status in ('FAILED', 'CANCELLED')
  `);
  return rowCount;
}
