import type { Pipeline } from '../db/pipelines.ts';
import type { Connection, Queryable } from '../db/pool.ts';
import {
  newRunIds,
  queuedRuns,
  queuedRunsStatement,
  queueRuns,
  type Run,
  type RunOrigin,
  type RunToQueue,
} from '../db/runs.ts';
import type { Statements } from '../db/transaction.ts';
import { maskEvent, type NewRunEvent } from '../events/append.ts';
import { maskText, maskValue } from '../personal-data/mask.ts';
import { activePlace, inShortSpan, SpanKind, type SpanPlace } from '../telemetry/tracing.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { storePayload } from './run-payload.ts';
import type { RunStage } from './run.ts';

export interface QueuedRun {
  /** From `newRunIds`, where it has been asked for beforehand. */
  id?: string;
  pipeline: Pipeline;
  stage: RunStage;
  /** Resolved, every field written out. */
  payload: Record<string, unknown>;
  reason: string | null;
  priority: number;
  /** The run of an earlier stage whose parts it reads; null, or absent, when it reads a source. */
  inputRun?: string | null;
  /** The span of its request; absent: the active one. Runs of several requests are queued under one. */
  place?: SpanPlace | null;
  /** Where it came from, when not from a request of its own. */
  origin: RunOrigin | null;
}

/** With an id from `newRunIds`. */
export type IdentifiedRun = QueuedRun & { id: string };

/** Inserts a PENDING run with its first partition and its first event. Personal data in reason and notes are masked. */
export async function queueRun(
  deps: Pick<DomainDeps, 'keys'>,
  tx: Connection,
  caller: Caller,
  run: QueuedRun,
): Promise<Run> {
  const id = run.id ?? (await newRunIds(tx, 1))[0] ?? '';
  const [queued] = await queueRuns(tx, [await runToQueue(deps, tx, caller, { ...run, id })]);
  return queued as Run;
}

/** As `queueRun`, for runs of one agency together, which nothing has written yet. */
export async function prepareRuns(
  deps: Pick<DomainDeps, 'keys'>,
  tx: Queryable,
  wanted: readonly { caller: Caller; run: IdentifiedRun }[],
): Promise<Statements<Run>> {
  const runs: RunToQueue[] = [];
  for (const { caller, run } of wanted) runs.push(await runToQueue(deps, tx, caller, run));
  return {
    statements: [queuedRunsStatement(runs)],
    values: ([answer]) => queuedRuns(runs, answer?.rows ?? []),
  };
}

async function runToQueue(
  deps: Pick<DomainDeps, 'keys'>,
  tx: Queryable,
  caller: Caller,
  run: IdentifiedRun,
): Promise<RunToQueue> {
  const { principal, traceId } = caller;
  const { id, pipeline, stage, payload, reason, priority, inputRun = null, place, origin } = run;
  return {
    id,
    pipelineName: pipeline.name,
    pipelineVersion: pipeline.version,
    stage,
    contentType: pipeline.contentType,
    useCase: pipeline.useCase,
    classification: pipeline.classification,
    requestedBy: principal.subject,
    reason: reason === null ? null : maskText(reason),
    ...(await storePayload(deps, tx, { agency: principal.agency, runId: id }, withMaskedNotes(payload))),
    traceId,
    traceSpan: queueSpan(traceId, place),
    priority,
    inputRun,
    ...(origin ? { origin } : {}),
    event: maskEvent(queuedEvent(caller, run)),
  };
}

/** Workers' spans are children of its. A caller that named another trace than the one that is under way has no span in it. */
function queueSpan(traceId: string, parent: SpanPlace | null | undefined): string | null {
  const queued = inShortSpan('run.queue', { kind: SpanKind.PRODUCER, parent: parent ?? undefined }, activePlace);
  return queued?.traceId === traceId ? queued.spanId : null;
}

function queuedEvent(
  { principal }: Caller,
  { pipeline, stage, priority, inputRun = null, origin }: QueuedRun,
): NewRunEvent {
  return {
    name: 'RunQueued',
    message: `Run of ${pipeline.name} version ${String(pipeline.version)} queued by ${principal.subject}.`,
    data: {
      by: principal.subject,
      pipeline: { name: pipeline.name, version: pipeline.version },
      stage,
      priority,
      ...(inputRun === null ? {} : { inputRun }),
      ...origin,
    },
  };
}

/** The rest of a payload is read by programs and was checked to hold none. */
function withMaskedNotes(payload: Record<string, unknown>): Record<string, unknown> {
  return { ...payload, metadata: maskValue(payload['metadata'] ?? {}) };
}
