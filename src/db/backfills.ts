import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import type { BackfillDateStatus, BackfillStatus, BackfillStep } from './schedule-vocabulary.ts';
import { sql } from './sql.ts';

export type { BackfillDateStatus, BackfillStatus, BackfillStep } from './schedule-vocabulary.ts';

/** One run for each date of a range. Dates are `YYYY-MM-DD`. */
export interface Backfill {
  id: string;
  pipelineName: string;
  /** 0 (U) to 5 (SCI). */
  classification: number;
  firstDate: string;
  /** Inclusive. */
  lastDate: string;
  step: BackfillStep;
  /** Most runs at once. */
  concurrency: number;
  priority: number;
  source: string | null;
  metadata: Record<string, unknown>;
  status: BackfillStatus;
  reason: string | null;
  requestedBy: string;
  createdAt: Date;
  updatedAt: Date;
  finishedAt: Date | null;
}

export interface BackfillDate {
  backfillId: string;
  date: string;
  status: BackfillDateStatus;
  /** Runs of the date so far; from 1. */
  attempt: number;
  runId: string | null;
  /** Why it failed. */
  message: string | null;
  updatedAt: Date;
}

export type NewBackfill = Pick<
  Backfill,
  | 'pipelineName'
  | 'classification'
  | 'firstDate'
  | 'lastDate'
  | 'step'
  | 'concurrency'
  | 'priority'
  | 'source'
  | 'metadata'
  | 'reason'
  | 'requestedBy'
>;

const columns = sql`
  backfill_id as "id",
  pipeline_name as "pipelineName",
  classification,
  first_date::text as "firstDate",
  last_date::text as "lastDate",
  step,
  concurrency,
  priority,
  source,
  metadata,
  status,
  reason,
  requested_by as "requestedBy",
  created_at as "createdAt",
  updated_at as "updatedAt",
  finished_at as "finishedAt"
`;

const dateColumns = sql`
  backfill_id as "backfillId",
  date::text as date,
  status,
  attempt,
  started_run as "runId",
  message,
  updated_at as "updatedAt"
`;

/** Inserts a backfill with all its dates. */
export async function insertBackfill(
  tx: Queryable,
  backfill: NewBackfill,
  dates: readonly string[],
): Promise<Backfill> {
  const { rows } = await tx.query<Backfill>(sql`
    insert into flux.backfills (agency_id, pipeline_name, classification, first_date, last_date, step, concurrency, priority,
      source, metadata, reason, requested_by)
    values (flux.current_agency(), ${backfill.pipelineName}, ${backfill.classification}, ${backfill.firstDate},
      ${backfill.lastDate}, ${backfill.step}, ${backfill.concurrency}, ${backfill.priority}, ${backfill.source},
      ${JSON.stringify(backfill.metadata)}, ${backfill.reason}, ${backfill.requestedBy})
    returning ${columns}
  `);
  const inserted = rows[0] as Backfill;
  await tx.query(sql`
    insert into flux.backfill_dates (agency_id, backfill_id, date)
    select flux.current_agency(), ${inserted.id}, d
    from unnest(${[...dates]}::date[]) d
  `);
  return inserted;
}

export async function findBackfill(
  db: Queryable,
  id: string,
  { lock }: { lock: boolean } = { lock: false },
): Promise<Backfill | null> {
  const { rows } = await db.query<Backfill>(sql`
    select ${columns}
    from flux.backfills
    where agency_id = (select flux.current_agency())
      and backfill_id = ${id}
    ${lock ? sql`for no key update` : sql``}
  `);
  return rows[0] ?? null;
}

/** Takes a backfill that is not over; null when another is at it. */
export async function takeBackfill(tx: Queryable, id: string): Promise<Backfill | null> {
  const { rows } = await tx.query<Backfill>(sql`
    select ${columns}
    from flux.backfills
    where agency_id = (select flux.current_agency())
      and backfill_id = ${id}
      and status in ('RUNNING', 'CANCELLING')
    for no key update skip locked
  `);
  return rows[0] ?? null;
}

/** Newest first. @param limit rows, 1 to 201 */
export async function listBackfills(
  db: Queryable,
  { after, limit, backward }: { after: string | null; limit: number; backward: boolean },
): Promise<Backfill[]> {
  const { against, reverse } = direction(backward);
  const { rows } = await db.query<Backfill>(sql`
    select ${columns}
    from flux.backfills
    where agency_id = (select flux.current_agency())
      and (${after}::uuid is null or backfill_id ${against} ${after}::uuid)
    order by backfill_id ${reverse}
    limit ${limit}
  `);
  return rows;
}

export async function setBackfillStatus(db: Queryable, id: string, status: BackfillStatus): Promise<void> {
  const over = status !== 'RUNNING' && status !== 'CANCELLING';
  await db.query(sql`
    update flux.backfills
    set status = ${status},
        finished_at = ${over ? sql`clock_timestamp()` : sql`null`},
        updated_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and backfill_id = ${id}
  `);
}

/** Puts it behind the others that are due. */
export async function requeueBackfill(tx: Queryable, id: string): Promise<void> {
  await tx.query(sql`
    update flux.agenda
    set due_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and kind = 'BACKFILL'
      and id = ${id}
  `);
}

/** Brings the dates whose runs are over up to them. @returns how many changed */
export async function settleDates(tx: Queryable, id: string): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.backfill_dates d
    set status = r.status,
        message = r.failure_message,
        updated_at = clock_timestamp()
    from flux.runs r
    where d.agency_id = (select flux.current_agency())
      and d.backfill_id = ${id}
      and d.status = 'RUNNING'
      and r.agency_id = d.agency_id
      and r.run_id = d.started_run
      and r.status in ('COMPLETED', 'FAILED', 'CANCELLED')
  `);
  return rowCount;
}

/** The oldest dates that have no run yet. */
export async function nextDates(tx: Queryable, id: string, limit: number): Promise<BackfillDate[]> {
  const { rows } = await tx.query<BackfillDate>(sql`
    select ${dateColumns}
    from flux.backfill_dates
    where agency_id = (select flux.current_agency())
      and backfill_id = ${id}
      and status = 'PENDING'
    order by backfill_dates.date
    limit ${limit}
  `);
  return rows;
}

export async function setDate(
  tx: Queryable,
  { backfillId, date }: Pick<BackfillDate, 'backfillId' | 'date'>,
  { status, runId, message }: Pick<BackfillDate, 'status' | 'runId' | 'message'>,
): Promise<void> {
  await tx.query(sql`
    update flux.backfill_dates
    set status = ${status},
        started_run = ${runId},
        message = ${message},
        updated_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and backfill_id = ${backfillId}
      and date = ${date}
  `);
}

/** Cancels the dates that have no run yet. @returns how many */
export async function cancelPendingDates(tx: Queryable, id: string): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.backfill_dates
    set status = 'CANCELLED', updated_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and backfill_id = ${id}
      and status = 'PENDING'
  `);
  return rowCount;
}

/** Makes the dates that failed or were cancelled wait for their next run. @returns how many */
export async function reopenDates(tx: Queryable, id: string): Promise<number> {
  const { rowCount } = await tx.query(sql`
    update flux.backfill_dates
    set status = 'PENDING',
        attempt = attempt + case when started_run is null then 0 else 1 end,
        started_run = null,
        message = null,
        updated_at = clock_timestamp()
    where agency_id = (select flux.current_agency())
      and backfill_id = ${id}
      and status in ('FAILED', 'CANCELLED')
  `);
  return rowCount;
}

export interface DateCounts {
  pending: number;
  running: number;
  completed: number;
  failed: number;
  cancelled: number;
  total: number;
}

export async function countDates(db: Queryable, id: string): Promise<DateCounts> {
  const { rows } = await db.query<DateCounts>(sql`
    select
      count(*) filter (where status = 'PENDING')::int as pending,
      count(*) filter (where status = 'RUNNING')::int as running,
      count(*) filter (where status = 'COMPLETED')::int as completed,
      count(*) filter (where status = 'FAILED')::int as failed,
      count(*) filter (where status = 'CANCELLED')::int as cancelled,
      count(*)::int as total
    from flux.backfill_dates
    where agency_id = (select flux.current_agency())
      and backfill_id = ${id}
  `);
  return rows[0] as DateCounts;
}

/** In the order of the dates. @param limit rows, 1 to 201 */
export async function listDates(
  db: Queryable,
  {
    id,
    status,
    after,
    limit,
    backward,
  }: { id: string; status: BackfillDateStatus | null; after: string | null; limit: number; backward: boolean },
): Promise<BackfillDate[]> {
  const { from, order } = direction(backward);
  const { rows } = await db.query<BackfillDate>(sql`
    select ${dateColumns}
    from flux.backfill_dates
    where agency_id = (select flux.current_agency())
      and backfill_id = ${id}
      and (${status}::text is null or status = ${status})
      and (${after}::date is null or date ${from} ${after}::date)
    order by backfill_dates.date ${order}
    limit ${limit}
  `);
  return rows;
}
