import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

export interface ReplicationState {
  /** Replicas that are connected. */
  replicas: number;
  /** Replicas that the server keeps its log for and that are not connected. */
  replicasAway: number;
  /**
   * Bytes of the log that the replica furthest behind has not on its disk, of those with a slot; null when none has one, for then no
   * login without rights of its own may know.
   */
  replicationLagBytes: number | null;
}

/**
 * How far the replicas are behind the server that answers. Slots are what every login may read; CloudNativePG gives one to each replica.
 */
export async function replicationState(db: Queryable): Promise<ReplicationState> {
  const { rows } = await db.query<{ replicas: bigint; away: bigint; lag: bigint | null }>(sql`
    with here as (
      select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end as lsn
    )
    select
      (select count(*) from pg_stat_replication) as replicas,
      count(*) filter (where not s.active) as away,
      max(pg_wal_lsn_diff(here.lsn, s.restart_lsn))::bigint as lag
    from here
    left join pg_replication_slots s on s.slot_type = 'physical' and not s.temporary
    group by here.lsn
  `);
  const { replicas = 0n, away = 0n, lag = null } = rows[0] ?? {};
  return {
    replicas: Number(replicas),
    replicasAway: Number(away),
    // What is written between the two readings would make it negative.
    replicationLagBytes: lag === null ? null : Math.max(0, Number(lag)),
  };
}

/** Whether the server that answers takes writes. One that follows another, or was told to, does not. */
export async function takesWrites(db: Queryable): Promise<boolean> {
  const { rows } = await db.query<{ writable: boolean }>(sql`
    select not pg_is_in_recovery() and not current_setting('default_transaction_read_only')::boolean as writable
  `);
  return rows[0]?.writable === true;
}
