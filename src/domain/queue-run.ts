import type { Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import { insertPlanPartition, insertRun, type Run, type RunOrigin } from '../db/runs.ts';
import { appendEvents } from '../events/append.ts';
import { maskText, maskValue } from '../personal-data/mask.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { requireRun } from './run-control.ts';
import { storePayload } from './run-payload.ts';
import type { RunStage } from './run.ts';

export interface QueuedRun {
  pipeline: Pipeline;
  stage: RunStage;
  /** Resolved, every field written out. */
  payload: Record<string, unknown>;
  reason: string | null;
  priority: number;
  /** The run of an earlier stage whose parts it reads; null, or absent, when it reads a source. */
  inputRun?: string | null;
  /** Where it came from, when not from a request of its own. */
  origin: RunOrigin | null;
}

/** Inserts a PENDING run with its first partition and its first event. Personal data in reason and notes are masked. */
export async function queueRun(
  deps: Pick<DomainDeps, 'keys'>,
  tx: Connection,
  { principal, traceId }: Caller,
  { pipeline, stage, payload, reason, priority, inputRun = null, origin }: QueuedRun,
): Promise<Run> {
  const queued = await insertRun(tx, {
    pipelineName: pipeline.name,
    pipelineVersion: pipeline.version,
    stage,
    contentType: pipeline.contentType,
    useCase: pipeline.useCase,
    classification: pipeline.classification,
    requestedBy: principal.subject,
    reason: reason === null ? null : maskText(reason),
    ...(await storePayload(deps, tx, principal.agency, withMaskedNotes(payload))),
    traceId,
    priority,
    inputRun,
    ...(origin ? { origin } : {}),
  });
  await insertPlanPartition(tx, { runId: queued.id, stage, priority });
  await appendEvents(tx, { agencyId: queued.agency, runId: queued.id }, [
    {
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
    },
  ]);
  return requireRun(tx, queued.id); // as the event has left it
}

/** The rest of a payload is read by programs and was checked to hold none. */
function withMaskedNotes(payload: Record<string, unknown>): Record<string, unknown> {
  return { ...payload, metadata: maskValue(payload['metadata'] ?? {}) };
}
