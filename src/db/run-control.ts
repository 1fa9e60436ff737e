import type { Queryable } from './pool.ts';
import type { RunKey } from './run-events-append.ts';
import { sql } from './sql.ts';

/**
 * Locks the partitions of a run in the order of their numbers. Whoever cancels or resumes does so first, so that two of them take
 * turns and no worker settles a partition meanwhile.
 *
 * @param exclusive also waits for the transactions that the holders have open, and lets none begin; otherwise only for those
 *   that are about to commit, because a holder that waits misses its heartbeat
 */
export async function lockRunPartitions(
  tx: Queryable,
  { agencyId, runId }: RunKey,
  { exclusive }: { exclusive: boolean },
): Promise<void> {
  await tx.query(sql`
    select
    from flux.run_partitions
    where agency_id = ${agencyId}
      and run_id = ${runId}
    order by partition_no
    ${exclusive ? sql`for update` : sql`for no key update`}
  `);
}

/** Cancels the partitions that nobody holds. @returns how many */
export async function cancelIdlePartitions(tx: Queryable, { agencyId, runId }: RunKey): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.run_partitions
    set status = 'CANCELLED',
        finished_at = clock_timestamp(),
        updated_at = clock_timestamp()
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and status = 'AVAILABLE'
  `);
  return rowCount;
}

/** Asks the holders of a run's partitions to stop. @returns the partitions, and when they lose them by force */
export async function askHoldersToStop(
  tx: Queryable,
  { agencyId, runId }: RunKey,
  graceMs: number,
): Promise<{ partitions: number[]; deadline: Date | null }> {
  const { rows } = await tx.query<{ partitionNo: number; cancelBy: Date }>(sql`
    update flux.run_partitions
    set cancel_by = statement_timestamp() + ${graceMs} * interval '1 millisecond',
        updated_at = clock_timestamp()
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and status = 'EXECUTING'
    returning partition_no as "partitionNo", cancel_by as "cancelBy"
  `);
  const partitions = rows.map(({ partitionNo }) => partitionNo).sort((a, b) => a - b);
  return { partitions, deadline: rows[0]?.cancelBy ?? null };
}

/**
 * Takes every partition that is not over from its holder, if it has one, and cancels it. The caller has locked them.
 *
 * @returns those that had a holder, with its epoch
 */
export async function cancelAllPartitions(
  tx: Queryable,
  { agencyId, runId }: RunKey,
): Promise<{ partition: number; epoch: number }[]> {
  const { rows } = await tx.query<{ partition: number; epoch: number; held: boolean }>(sql`
    with held as (
      select partition_no, status = 'EXECUTING' as held
      from flux.run_partitions
      where agency_id = ${agencyId}
        and run_id = ${runId}
        and status in ('AVAILABLE', 'EXECUTING')
    )
    update flux.run_partitions p
    set status = 'CANCELLED',
        leased_by = null,
        lease_expires_at = null,
        holder_pid = null,
        finished_at = clock_timestamp(),
        updated_at = clock_timestamp()
    from held
    where p.agency_id = ${agencyId}
      and p.run_id = ${runId}
      and p.partition_no = held.partition_no
    returning p.partition_no as partition, p.epoch, held.held
  `);
  return rows.filter(({ held }) => held).map(({ partition, epoch }) => ({ partition, epoch }));
}

/** Partitions of a run that a worker holds or could take. */
export async function countOpenPartitions(tx: Queryable, { agencyId, runId }: RunKey): Promise<number> {
  const { rows } = await tx.query<{ open: number }>(sql`
    select count(*)::int as open
    from flux.run_partitions
    where agency_id = ${agencyId}
      and run_id = ${runId}
      and status in ('AVAILABLE', 'EXECUTING')
  `);
  return rows[0]?.open ?? 0;
}

/** A run whose holders have not acknowledged its cancel in time. */
export interface OverdueCancel extends RunKey {
  /** The agency's login, under which it must be ended. */
  role: string;
}

/** Of any agency. Runs as flux_worker. */
export async function overdueCancels(db: Queryable): Promise<OverdueCancel[]> {
  const { rows } = await db.query<OverdueCancel>(sql`
    select agency_id as "agencyId", run_id as "runId", rw_role as role
    from flux.overdue_cancels()
  `);
  return rows;
}

/**
 * Ends the sessions that hold a run's partitions, so that their locks go: one stuck inside COPY would keep them. Runs as the
 * agency's own login, whose sessions they are. @returns how many
 */
export async function endHolders(tx: Queryable, { agencyId, runId }: RunKey): Promise<number> {
  const { rows } = await tx.query<{ pid: number }>(sql`
    select s.pid
    from flux.run_partitions p
    join pg_stat_activity s on s.pid = p.holder_pid and s.usename = session_user and s.datname = current_database()
    where p.agency_id = ${agencyId}
      and p.run_id = ${runId}
      and p.status = 'EXECUTING'
      and s.pid <> pg_backend_pid()
  `);
  for (const { pid } of rows) await tx.query(sql`select pg_terminate_backend(${pid}::int)`);
  return rows.length;
}
