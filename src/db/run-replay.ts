import type { Queryable } from './pool.ts';
import { type RunEvent } from './run-events.ts';
import type { PartitionKind, PartitionStatus, RunStatus } from './run-vocabulary.ts';
import { sql } from './sql.ts';

/** A run's state as the tables have it. Counts are texts, as they go into canonical JSON. */
export interface StoredState {
  status: RunStatus;
  attempt: number;
  lastSeq: string;
  failureCode: string | null;
  partitions: StoredPartition[];
}

export interface StoredPartition {
  partition: number;
  kind: PartitionKind;
  status: PartitionStatus;
  read: string;
  written: string;
  rejected: string;
  filtered: string;
  bytes: string;
  /** The newest checkpoint's version; 0 before the first. */
  checkpoint: number;
  /** Its hash, hex. */
  hash: string | null;
}

export type ReplayedEvent = Pick<RunEvent, 'seq' | 'name' | 'attempt' | 'partitionNo' | 'data'>;

/** A run's state and all of its events in one snapshot; null when it does not exist for the session. */
export async function readForReplay(
  db: Queryable,
  runId: string,
): Promise<{ stored: StoredState; events: ReplayedEvent[] } | null> {
  const { rows } = await db.query<StoredState & { events: (Omit<ReplayedEvent, 'seq'> & { seq: string })[] }>(sql`
    select
      r.status,
      r.attempt,
      r.last_seq::text as "lastSeq",
      r.failure_code as "failureCode",
      (
        select coalesce(jsonb_agg(to_jsonb(s) order by s.partition), '[]')
        from (
          select
            p.partition_no as partition,
            p.kind,
            p.status,
            p.records_read::text as read,
            p.records_written::text as written,
            p.records_rejected::text as rejected,
            p.records_filtered::text as filtered,
            p.bytes_read::text as bytes,
            coalesce(c.version, 0) as checkpoint,
            encode(c.hash, 'hex') as hash
          from flux.run_partitions p
          left join lateral (
            select version, hash
            from flux.checkpoints
            where agency_id = p.agency_id
              and run_id = p.run_id
              and partition_no = p.partition_no
            order by version desc
            limit 1
          ) c on true
          where p.agency_id = r.agency_id
            and p.run_id = r.run_id
        ) s
      ) as partitions,
      (
        select coalesce(jsonb_agg(jsonb_build_object('seq', e.seq::text, 'name', e.name, 'attempt', e.attempt,
          'partitionNo', e.partition_no, 'data', e.data) order by e.seq), '[]')
        from flux.run_events e
        where e.agency_id = r.agency_id
          and e.run_id = r.run_id
      ) as events
    from flux.runs r
    where r.agency_id = (select flux.current_agency())
      and r.run_id = ${runId}
  `);
  const row = rows[0];
  if (!row) return null;
  const { events, ...stored } = row;
  return { stored, events: events.map((event) => ({ ...event, seq: BigInt(event.seq) })) };
}
