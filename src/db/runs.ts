import { toJsonb } from './json.ts';
import type { Queryable } from './pool.ts';
import type { NewRunEvent } from './run-events-append.ts';
import type { RunStage, RunStatus } from './run-vocabulary.ts';
import { join, type Sql, sql } from './sql.ts';

/** One requested execution. */
export interface Run {
  /** UUID version 7. */
  id: string;
  agency: string;
  pipelineName: string;
  pipelineVersion: number;
  stage: RunStage;
  contentType: string;
  useCase: string;
  /** 0 (U) to 5 (SCI). */
  classification: number;
  status: RunStatus;
  /** Rises with every change of state; whoever holds a newer one ignores an older. */
  version: bigint;
  attempt: number;
  /** The newest event's sequence number; 0 before the first. */
  lastSeq: bigint;
  /** -100 to 100: what is higher is taken first among the agency's own. */
  priority: number;
  requestedBy: string;
  reason: string | null;
  /** All of it, or what is no content when the rest is sealed (domain/run-payload.ts opens it). */
  payload: Record<string, unknown>;
  payloadSealed: Buffer | null;
  traceId: string | null;
  /** The span of that trace under which it was queued; null where nothing is traced. */
  traceSpan: string | null;
  /** Known once the source is planned. */
  recordsTotal: bigint | null;
  bytesTotal: bigint | null;
  failure: { class: string; code: string; message: string } | null;
  createdAt: Date;
  startedAt: Date | null;
  finishedAt: Date | null;
  updatedAt: Date;
  /** When a requested cancel is forced; null when none was asked for in this attempt. */
  cancelDeadline: Date | null;
  /** The run whose inputs this one repeats. */
  rerunOf: string | null;
  /** The checkpoint from which this run goes on, by its run; its partition and version stand beside it. */
  forkedFrom: string | null;
  forkedPartition: number | null;
  forkedVersion: number | null;
  /** The run of an earlier stage whose parts this one reads; null when it reads a source. */
  inputRun: string | null;
  /** The run whose rejected records this one puts through the contract again. */
  reprocessOf: string | null;
}

export interface NewRun {
  pipelineName: string;
  pipelineVersion: number;
  stage: RunStage;
  contentType: string;
  useCase: string;
  classification: number;
  requestedBy: string;
  reason: string | null;
  payload: Record<string, unknown>;
  payloadSealed?: Buffer | null;
  traceId: string | null;
  traceSpan?: string | null;
  /** 0 if absent. */
  priority?: number;
  /** The run of an earlier stage whose parts it reads. */
  inputRun?: string | null;
  origin?: RunOrigin;
}

/** The run that a new one repeats, the checkpoint that it goes on from, or the run whose rejected records it takes. */
export type RunOrigin =
  | { rerunOf: string }
  | { reprocessOf: string }
  | { forkedFrom: string; forkedPartition: number; forkedVersion: number };

export interface RunFilter {
  statuses?: readonly RunStatus[] | undefined;
  pipeline?: string | undefined;
  contentType?: string | undefined;
  useCase?: string | undefined;
  createdAfter?: Date | undefined;
  createdBefore?: Date | undefined;
}

type RunRow = Omit<Run, 'failure'> & {
  failureClass: string | null;
  failureCode: string | null;
  failureMessage: string | null;
};

const runColumns = sql`
  agency_id as "agency",
  run_id as "id",
  pipeline_name as "pipelineName",
  pipeline_version as "pipelineVersion",
  stage,
  content_type as "contentType",
  use_case as "useCase",
  classification,
  status,
  version,
  attempt,
  last_seq as "lastSeq",
  priority,
  requested_by as "requestedBy",
  reason,
  payload,
  payload_sealed as "payloadSealed",
  trace_id as "traceId",
  trace_span as "traceSpan",
  records_total as "recordsTotal",
  bytes_total as "bytesTotal",
  failure_class as "failureClass",
  failure_code as "failureCode",
  failure_message as "failureMessage",
  created_at as "createdAt",
  started_at as "startedAt",
  finished_at as "finishedAt",
  updated_at as "updatedAt",
  cancel_deadline as "cancelDeadline",
  rerun_of as "rerunOf",
  forked_from as "forkedFrom",
  forked_partition as "forkedPartition",
  forked_version as "forkedVersion",
  input_run as "inputRun",
  reprocess_of as "reprocessOf"
`;

/** Ids for runs that are about to be inserted. */
export async function newRunIds(db: Queryable, count: number): Promise<string[]> {
  // Of a list and not of generate_series, for which PostgreSQL plans anew each time.
  const { rows } = await db.query<{ id: string }>(sql`
    select flux.uuid_v7() as id
    from unnest(${new Array<number>(count).fill(1)}::int[])
  `);
  return rows.map(({ id }) => id);
}

/** A run that is about to be queued, with the first event of its history. */
export type RunToQueue = NewRun & { id: string; event: NewRunEvent };

/**
 * Inserts PENDING runs, each with the partition that every run starts with (a worker takes it, pins the source and cuts the rest) and with
 * its first event.
 */
export async function queueRuns(db: Queryable, runs: readonly RunToQueue[]): Promise<Run[]> {
  const { rows } = await db.query(queuedRunsStatement(runs));
  return queuedRuns(runs, rows);
}

/** The statement of `queueRuns`; `queuedRuns` reads its answer. */
export function queuedRunsStatement(runs: readonly RunToQueue[]): Sql {
  return sql`
    select ${runColumns}
    from flux.queue_runs(${toJsonb(runs.map(toRecord))}::jsonb)
  `;
}

/** The runs of `queuedRunsStatement`, in their order. @param rows what it answered */
export function queuedRuns(runs: readonly { id: string }[], rows: readonly object[]): Run[] {
  const inserted = new Map((rows as RunRow[]).map((row) => [row.id, toRun(row)]));
  return runs.map(({ id }) => inserted.get(id) as Run);
}

function toRecord({ origin, payloadSealed, ...run }: RunToQueue): Record<string, unknown> {
  return { ...run, ...origin, sealed: payloadSealed?.toString('base64') ?? null };
}

/** A run by id; null when none exists for the session's agency and clearance. */
export async function findRun(db: Queryable, runId: string): Promise<Run | null> {
  const { rows } = await db.query<RunRow>(sql`
    select ${runColumns}
    from flux.runs
    where agency_id = (select flux.current_agency())
      and run_id = ${runId}
  `);
  return rows[0] ? toRun(rows[0]) : null;
}

/**
 * Pages through runs in the order of their ids, which are time-ordered.
 *
 * @param after the last run of the page before
 * @param limit rows, 1 to 201
 */
export async function listRuns(
  db: Queryable,
  { filter, descending, after, limit }: { filter: RunFilter; descending: boolean; after: string | null; limit: number },
): Promise<Run[]> {
  const conditions = runConditions(filter);
  if (after !== null) conditions.push(descending ? sql`run_id < ${after}::uuid` : sql`run_id > ${after}::uuid`);
  const { rows } = await db.query<RunRow>(sql`
    select ${runColumns}
    from flux.runs
    where ${join(conditions, ' and ')}
    order by run_id ${descending ? sql`desc` : sql`asc`}
    limit ${limit}
  `);
  return rows.map(toRun);
}

const countMost = 100_000n; // some 30 ms by the index

/** How many runs a filter finds; null above 100,000. */
export async function countRuns(db: Queryable, filter: RunFilter): Promise<bigint | null> {
  const { rows } = await db.query<{ n: bigint }>(sql`
    select count(*) as n
    from (
      select
      from flux.runs
      where ${join(runConditions(filter), ' and ')}
      limit ${countMost + 1n}
    ) as found
  `);
  const n = rows[0]?.n ?? 0n;
  return n > countMost ? null : n;
}

/** The conditions of a filter, and that the run is the session's agency's. */
export function runConditions(filter: RunFilter): Sql[] {
  const conditions = [sql`agency_id = (select flux.current_agency())`];
  if (filter.statuses) conditions.push(sql`status = any(${[...filter.statuses]}::text[])`);
  if (filter.pipeline !== undefined) conditions.push(sql`pipeline_name = ${filter.pipeline}`);
  if (filter.contentType !== undefined) conditions.push(sql`content_type = ${filter.contentType}`);
  if (filter.useCase !== undefined) conditions.push(sql`use_case = ${filter.useCase}`);
  if (filter.createdAfter) conditions.push(sql`created_at > ${filter.createdAfter}`);
  if (filter.createdBefore) conditions.push(sql`created_at < ${filter.createdBefore}`);
  return conditions;
}

/** Runs with columns besides their own, as a statement's end says. */
export async function readRuns<More extends object>(db: Queryable, more: Sql, end: Sql): Promise<(Run & More)[]> {
  const { rows } = await db.query<RunRow & More>(sql`
    select ${runColumns}, ${more}
    from flux.runs
    ${end}
  `);
  return rows.map((row) => toRun(row) as Run & More);
}

function toRun({ failureClass, failureCode, failureMessage, ...run }: RunRow): Run {
  const failure =
    failureCode === null
      ? null
      : { class: failureClass ?? 'TERMINAL', code: failureCode, message: failureMessage ?? '' };
  return { ...run, failure };
}
