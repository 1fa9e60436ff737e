import type { Queryable } from './pool.ts';
import type { EventName, RunStatus, StepStage } from './run-vocabulary.ts';
import { sql } from './sql.ts';

/** One immutable entry of a run's history. */
export interface RunEvent {
  id: string;
  runId: string;
  /** Contiguous from 1 within the run, in commit order. */
  seq: bigint;
  at: Date;
  name: EventName;
  stage: StepStage | null;
  step: string | null;
  partitionNo: number | null;
  attempt: number;
  message: string;
  data: Record<string, unknown>;
  traceId: string | null;
}

/** Where a run stands, seen in the same snapshot as the events beside it. */
export interface RunPosition {
  status: RunStatus;
  attempt: number;
  lastSeq: bigint;
  /** The database's clock at the reading. */
  readAt: Date;
}

const eventColumns = sql`
  event_id as "id",
  run_id as "runId",
  seq,
  at,
  name,
  stage,
  step,
  partition_no as "partitionNo",
  attempt,
  message,
  data,
  trace_id as "traceId"
`;

/**
 * The events after `afterSeq` in their order, and the run's position, in one round trip and one snapshot: a reader that has
 * all events up to `lastSeq` of a finished run knows that it has them all.
 *
 * @param limit events, 1 to 1000
 * @returns null when no such run exists for the session's agency and clearance
 */
export async function readEventPage(
  db: Queryable,
  { runId, afterSeq, limit }: { runId: string; afterSeq: bigint; limit: number },
): Promise<(RunPosition & { events: RunEvent[] }) | null> {
  const { rows } = await db.query<RunPosition & { [column in keyof RunEvent]: RunEvent[column] | null }>(sql`
    select r.status, r.attempt as "runAttempt", r.last_seq as "lastSeq", clock_timestamp() as "readAt", e.*
    from flux.runs r
    left join lateral (
      select ${eventColumns}
      from flux.run_events
      where agency_id = r.agency_id
        and run_id = r.run_id
        and seq > ${afterSeq}
      order by seq
      limit ${limit}
    ) as e on true
    where r.agency_id = (select flux.current_agency())
      and r.run_id = ${runId}
    order by e.seq
  `);
  const first = rows[0] as ((typeof rows)[number] & { runAttempt: number }) | undefined;
  if (!first) return null;
  return {
    status: first.status,
    attempt: first.runAttempt,
    lastSeq: first.lastSeq,
    readAt: first.readAt,
    events: rows.flatMap((row) => (row.seq === null ? [] : [toEvent(row as unknown as RunEvent)])),
  };
}

/**
 * The last events before a place, the newest first; before the end where `beforeSeq` is null.
 *
 * @returns null when no such run exists for the session's agency and clearance
 */
export async function readEventsBefore(
  db: Queryable,
  { runId, beforeSeq, limit }: { runId: string; beforeSeq: bigint | null; limit: number },
): Promise<RunEvent[] | null> {
  const { rows } = await db.query<{ [column in keyof RunEvent]: RunEvent[column] | null }>(sql`
    select e.*
    from flux.runs r
    left join lateral (
      select ${eventColumns}
      from flux.run_events
      where agency_id = r.agency_id
        and run_id = r.run_id
        and (${beforeSeq}::bigint is null or seq < ${beforeSeq})
      order by seq desc
      limit ${limit}
    ) as e on true
    where r.agency_id = (select flux.current_agency())
      and r.run_id = ${runId}
    order by e.seq desc
  `);
  if (rows.length === 0) return null;
  return rows.flatMap((row) => (row.seq === null ? [] : [toEvent(row as RunEvent)]));
}

/**
 * Events of these names behind one place and before another, in their order or from the end. Looks through the run's events for them:
 * some 300 ms for 1,000,000.
 *
 * @returns null when no such run exists for the session's agency and clearance
 */
export async function readNamedEvents(
  db: Queryable,
  search: {
    runId: string;
    names: readonly EventName[];
    afterSeq: bigint | null;
    beforeSeq: bigint | null;
    backward: boolean;
    limit: number;
  },
): Promise<RunEvent[] | null> {
  const { runId, names, afterSeq, beforeSeq, backward, limit } = search;
  const direction = backward ? sql`desc` : sql`asc`;
  const { rows } = await db.query<{ [column in keyof RunEvent]: RunEvent[column] | null }>(sql`
    select e.*
    from flux.runs r
    left join lateral (
      select ${eventColumns}
      from flux.run_events
      where agency_id = r.agency_id
        and run_id = r.run_id
        and name = any (${[...names]}::text[])
        and (${afterSeq}::bigint is null or seq > ${afterSeq})
        and (${beforeSeq}::bigint is null or seq < ${beforeSeq})
      order by seq ${direction}
      limit ${limit}
    ) as e on true
    where r.agency_id = (select flux.current_agency())
      and r.run_id = ${runId}
    order by e.seq ${direction}
  `);
  if (rows.length === 0) return null;
  return rows.flatMap((row) => (row.seq === null ? [] : [toEvent(row as RunEvent)]));
}

/**
 * The last event of an attempt, which is its ending once it is over; null when it has none that is left. Attempts follow each other in a
 * run's history, so the place is found by halving: from the end backward it would be read past all events of the attempts since.
 */
export async function findLastEvent(db: Queryable, runId: string, attempt: number): Promise<RunEvent | null> {
  const { rows } = await db.query<RunEvent>(sql`
    with recursive search (agency_id, run_id, low, high) as (
      -- Up to low no event is of a later attempt, behind high every one is. What retention took is earlier.
      select agency_id, run_id, 0::bigint, last_seq
      from flux.runs
      where agency_id = (select flux.current_agency())
        and run_id = ${runId}
      union all
      select s.agency_id, s.run_id, case when later then s.low else middle end, case when later then middle - 1 else s.high end
      from search s
      cross join lateral (select (s.low + s.high + 1) / 2 as middle) as halved
      cross join lateral (
        select coalesce((
          select e.attempt > ${attempt}
          from flux.run_events e
          where e.agency_id = s.agency_id and e.run_id = s.run_id and e.seq = middle
        ), false) as later
      ) as looked
      where s.low < s.high
    )
    select e.*
    from search s
    cross join lateral (
      select ${eventColumns}
      from flux.run_events
      where agency_id = s.agency_id
        and run_id = s.run_id
        and seq = s.low
        and attempt = ${attempt}
    ) as e
    where s.low = s.high
  `);
  return rows[0] ?? null;
}

/** The lowest sequence number that retention has left; null for a run without events or an unknown one. */
export async function findEventFloor(db: Queryable, runId: string): Promise<bigint | null> {
  const { rows } = await db.query<{ floor: bigint | null }>(sql`
    select min(e.seq) as floor
    from flux.runs r
    join flux.run_events e on e.agency_id = r.agency_id and e.run_id = r.run_id
    where r.agency_id = (select flux.current_agency())
      and r.run_id = ${runId}
  `);
  return rows[0]?.floor ?? null;
}

function toEvent(row: RunEvent): RunEvent {
  const { id, runId, seq, at, name, stage, step, partitionNo, attempt, message, data, traceId } = row;
  return { id, runId, seq, at, name, stage, step, partitionNo, attempt, message, data, traceId };
}
