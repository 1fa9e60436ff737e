import { storableText, toJsonb } from './json.ts';
import type { Queryable } from './pool.ts';
import type { EventName, RunStatus, StepStage } from './run-vocabulary.ts';
import { sql } from './sql.ts';

/** Names a run of the session's own agency; another's reads as absent. */
export interface RunKey {
  agencyId: string;
  runId: string;
}

/** An event before it has its place in the run's history. */
export interface NewRunEvent {
  name: EventName;
  /** One sentence for a person. */
  message: string;
  stage?: StepStage;
  step?: string;
  partitionNo?: number;
  /** JSON for programs; counts are numbers below 2^53. */
  data?: Readonly<Record<string, unknown>>;
}

/** A change of the run's state that commits with its events. */
export interface RunTransition {
  /** The states it may start from. */
  from: readonly RunStatus[];
  to: RunStatus;
  /** Sets started_at. Only a worker's login may. */
  starts?: boolean;
  /** Sets finished_at: required exactly when `to` is final. */
  finishes?: boolean;
  /** Required exactly when `to` is FAILED. */
  failure?: { class: string; code: string; message: string };
  /** Sets when the requested cancel is forced. */
  cancelDeadline?: Date;
  /** Begins the next attempt: what the one before left behind of its end goes. */
  resumes?: boolean;
}

export interface AppendedEvent {
  seq: bigint;
  eventId: string;
  at: Date;
}

const nextAttempt = sql`,
  attempt = attempt + 1,
  finished_at = null,
  cancel_deadline = null,
  failure_class = null,
  failure_code = null,
  failure_message = null`;

/**
 * Appends events at the end of a run's history and, in the same statement, changes its state. Takes the run's row lock, so it
 * comes last in its transaction: sequence order is then commit order.
 *
 * @param from the states in which the run must be
 * @returns one entry per event, in order; none when the run is in no such state, or does not exist
 */
export async function insertRunEvents(
  db: Queryable,
  { agencyId, runId }: RunKey,
  events: readonly NewRunEvent[],
  from: readonly RunStatus[],
  transition: RunTransition | null,
): Promise<AppendedEvent[]> {
  const failure = transition?.failure;
  const change = sql`
    status = coalesce(${transition?.to ?? null}, status),
    version = version + 1,
    last_seq = last_seq + ${events.length},
    updated_at = clock_timestamp()
    ${transition?.starts ? sql`, started_at = coalesce(started_at, clock_timestamp())` : sql``}
    ${transition?.cancelDeadline ? sql`, cancel_deadline = ${transition.cancelDeadline}` : sql``}
    ${transition?.resumes ? nextAttempt : sql``}
    ${transition?.finishes ? sql`, finished_at = clock_timestamp()` : sql``}
    ${
      failure
        ? sql`, failure_class = ${failure.class}, failure_code = ${failure.code}, failure_message = ${storableText(failure.message)}`
        : sql``
    }
  `;
  const { rows } = await db.query<AppendedEvent>(sql`
    with run as (
      update flux.runs
      set ${change}
      where agency_id = ${agencyId}
        and run_id = ${runId}
        and status = any (${from}::text[])
      returning agency_id, run_id, last_seq - ${events.length} as seq_before, attempt, trace_id
    )
    insert into flux.run_events
      (agency_id, run_id, seq, name, stage, step, partition_no, attempt, message, data, trace_id)
    select run.agency_id, run.run_id, run.seq_before + e.position, e.event ->> 'name', e.event ->> 'stage',
      e.event ->> 'step', (e.event ->> 'partitionNo')::int, run.attempt, e.event ->> 'message',
      coalesce(e.event -> 'data', '{}'), run.trace_id
    from run, jsonb_array_elements(${toJsonb(events)}::jsonb) with ordinality as e (event, position)
    order by e.position
    returning seq, event_id as "eventId", at
  `);
  return rows;
}
