import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import type { CatchUp, Overlap, ScheduleStatus, TickStatus } from './schedule-vocabulary.ts';
import { type Sql, sql } from './sql.ts';

export type { CatchUp, Overlap, ScheduleStatus, TickStatus } from './schedule-vocabulary.ts';

/** When runs of a pipeline start by themselves. */
export interface Schedule {
  id: string;
  name: string;
  pipelineName: string;
  /** That of the pipeline when the schedule was made, 0 (U) to 5 (SCI). */
  classification: number;
  /** Five fields. */
  cron: string;
  /** IANA name. */
  timeZone: string;
  catchUp: CatchUp;
  catchUpLimit: number;
  overlap: Overlap;
  priority: number;
  /** In place of the pipeline's own path; may hold {date} and its parts. */
  source: string | null;
  metadata: Record<string, unknown>;
  status: ScheduleStatus;
  /** The first tick that has not been decided; null once removed. */
  nextTickAt: Date | null;
  version: bigint;
  createdBy: string;
  createdAt: Date;
  updatedAt: Date;
}

/** What became of one tick. */
export interface ScheduleTick {
  scheduleId: string;
  tickAt: Date;
  status: TickStatus;
  runId: string | null;
  /** Why it was skipped, or the code of why it failed. */
  reason: string | null;
  message: string | null;
  /** Ticks that the row stands for: itself, and earlier ones that were missed with it. */
  standsFor: number;
  /** Whether it was decided late, as a catch-up. */
  caughtUp: boolean;
  decidedAt: Date;
}

export type NewSchedule = Pick<
  Schedule,
  | 'name'
  | 'pipelineName'
  | 'classification'
  | 'cron'
  | 'timeZone'
  | 'catchUp'
  | 'catchUpLimit'
  | 'overlap'
  | 'priority'
  | 'source'
  | 'metadata'
  | 'createdBy'
> & { nextTickAt: Date };

const columns = sql`
  schedule_id as "id",
  name,
  pipeline_name as "pipelineName",
  classification,
  cron,
  time_zone as "timeZone",
  catch_up as "catchUp",
  catch_up_limit as "catchUpLimit",
  overlap,
  priority,
  source,
  metadata,
  status,
  next_tick_at as "nextTickAt",
  version,
  created_by as "createdBy",
  created_at as "createdAt",
  updated_at as "updatedAt"
`;

const tickColumns = sql`
  schedule_id as "scheduleId",
  tick_at as "tickAt",
  status,
  started_run as "runId",
  reason,
  message,
  stands_for as "standsFor",
  caught_up as "caughtUp",
  decided_at as "decidedAt"
`;

/** The database's clock, by which ticks are due. */
export async function readClock(db: Queryable): Promise<Date> {
  const { rows } = await db.query<{ now: Date }>(sql`select clock_timestamp() as now`);
  return (rows[0] as { now: Date }).now;
}

/** @throws 23505 the name is taken */
export async function insertSchedule(db: Queryable, schedule: NewSchedule): Promise<Schedule> {
  const { rows } = await db.query<Schedule>(sql`
    insert into flux.schedules (agency_id, name, pipeline_name, classification, cron, time_zone, catch_up, catch_up_limit,
      overlap, priority, source, metadata, next_tick_at, created_by)
    values (flux.current_agency(), ${schedule.name}, ${schedule.pipelineName}, ${schedule.classification}, ${schedule.cron},
      ${schedule.timeZone}, ${schedule.catchUp}, ${schedule.catchUpLimit}, ${schedule.overlap}, ${schedule.priority},
      ${schedule.source}, ${JSON.stringify(schedule.metadata)}, ${schedule.nextTickAt}, ${schedule.createdBy})
    returning ${columns}
  `);
  return rows[0] as Schedule;
}

/** A schedule by name that was not removed. @param lock keeps it as it is until the transaction ends */
export async function findScheduleByName(
  db: Queryable,
  name: string,
  { lock }: { lock: boolean } = { lock: false },
): Promise<Schedule | null> {
  const { rows } = await db.query<Schedule>(sql`
    select ${columns}
    from flux.schedules
    where agency_id = (select flux.current_agency())
      and name = ${name}
      and status <> 'REMOVED'
    ${lock ? sql`for no key update` : sql``}
  `);
  return rows[0] ?? null;
}

export async function findSchedule(db: Queryable, id: string): Promise<Schedule | null> {
  const { rows } = await db.query<Schedule>(sql`
    select ${columns}
    from flux.schedules
    where agency_id = (select flux.current_agency())
      and schedule_id = ${id}
  `);
  return rows[0] ?? null;
}

/** Takes an active schedule for deciding its ticks; null when another is at it, or there is nothing to decide any more. */
export async function takeSchedule(tx: Queryable, id: string): Promise<Schedule | null> {
  const { rows } = await tx.query<Schedule>(sql`
    select ${columns}
    from flux.schedules
    where agency_id = (select flux.current_agency())
      and schedule_id = ${id}
      and status = 'ACTIVE'
    for no key update skip locked
  `);
  return rows[0] ?? null;
}

/** By name. @param limit rows, 1 to 201 */
export async function listSchedules(
  db: Queryable,
  { after, limit, backward }: { after: string | null; limit: number; backward: boolean },
): Promise<Schedule[]> {
  const { from, order } = direction(backward);
  const { rows } = await db.query<Schedule>(sql`
    select ${columns}
    from flux.schedules
    where agency_id = (select flux.current_agency())
      and status <> 'REMOVED'
      and (${after}::text is null or name ${from} ${after})
    order by name ${order}
    limit ${limit}
  `);
  return rows;
}

export async function setScheduleStatus(
  db: Queryable,
  id: string,
  { status, nextTickAt }: { status: ScheduleStatus; nextTickAt: Date | null },
): Promise<void> {
  await db.query(sql`
    update flux.schedules
    set status = ${status},
        next_tick_at = ${nextTickAt},
        version = version + 1,
        updated_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and schedule_id = ${id}
  `);
}

export async function setNextTick(tx: Queryable, id: string, nextTickAt: Date): Promise<void> {
  await tx.query(sql`
    update flux.schedules
    set next_tick_at = ${nextTickAt},
        updated_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and schedule_id = ${id}
  `);
}

export type NewTick = Pick<ScheduleTick, 'tickAt' | 'status' | 'caughtUp'> &
  Partial<Pick<ScheduleTick, 'runId' | 'reason' | 'message' | 'standsFor'>>;

/** @throws 23505 the tick has been decided: its place is its key */
export async function insertTick(tx: Queryable, scheduleId: string, tick: NewTick): Promise<void> {
  await tx.query(sql`
    insert into flux.schedule_ticks (agency_id, schedule_id, tick_at, status, started_run, reason, message, stands_for, caught_up)
    values (flux.current_agency(), ${scheduleId}, ${tick.tickAt}, ${tick.status}, ${tick.runId ?? null},
      ${tick.reason ?? null}, ${tick.message ?? null}, ${tick.standsFor ?? 1}, ${tick.caughtUp})
  `);
}

/** Decides a tick that waited. */
export async function decideTick(
  tx: Queryable,
  scheduleId: string,
  tick: Pick<NewTick, 'tickAt' | 'status' | 'runId' | 'reason' | 'message'>,
): Promise<void> {
  await tx.query(sql`
    update flux.schedule_ticks
    set status = ${tick.status},
        started_run = ${tick.runId ?? null},
        reason = ${tick.reason ?? null},
        message = ${tick.message ?? null},
        decided_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and schedule_id = ${scheduleId}
      and tick_at = ${tick.tickAt}
      and status = 'WAITING'
  `);
}

/** Ticks that wait for a run to be over go with their schedule. @returns how many */
export async function skipWaitingTicks(tx: Queryable, scheduleId: string, reason: string): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.schedule_ticks
    set status = 'SKIPPED', reason = ${reason}, decided_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and schedule_id = ${scheduleId}
      and status = 'WAITING'
  `);
  return rowCount;
}

/** Whether a run of the schedule is not over, and its oldest tick that waits with how many wait. */
export async function readOverlap(
  tx: Queryable,
  scheduleId: string,
): Promise<{ running: boolean; waiting: number; oldest: Date | null; oldestCaughtUp: boolean }> {
  const { rows } = await tx.query<{
    running: boolean;
    waiting: number;
    oldest: Date | null;
    oldestCaughtUp: boolean;
  }>(sql`
    select
      exists (
        select
        from flux.schedule_ticks t
        join flux.runs r on r.agency_id = t.agency_id and r.run_id = t.started_run
        where t.agency_id = (select flux.current_agency())
          and t.schedule_id = ${scheduleId}
          and r.status not in ('COMPLETED', 'FAILED', 'CANCELLED')
      ) as running,
      count(w.tick_at)::int as waiting,
      min(w.tick_at) as oldest,
      coalesce((array_agg(w.caught_up order by w.tick_at))[1], false) as "oldestCaughtUp"
    from flux.schedule_ticks w
    where w.agency_id = (select flux.current_agency())
      and w.schedule_id = ${scheduleId}
      and w.status = 'WAITING'
  `);
  return rows[0] as { running: boolean; waiting: number; oldest: Date | null; oldestCaughtUp: boolean };
}

/** Newest first. @param after the last tick of the page before @param limit rows, 1 to 201 */
export async function listTicks(
  db: Queryable,
  { scheduleId, after, limit, backward }: { scheduleId: string; after: Date | null; limit: number; backward: boolean },
): Promise<ScheduleTick[]> {
  const { against, reverse } = direction(backward);
  const beyond: Sql = after === null ? sql`` : sql`and tick_at ${against} ${after}`;
  const { rows } = await db.query<ScheduleTick>(sql`
    select ${tickColumns}
    from flux.schedule_ticks
    where agency_id = (select flux.current_agency())
      and schedule_id = ${scheduleId}
      ${beyond}
    order by tick_at ${reverse}
    limit ${limit}
  `);
  return rows;
}
