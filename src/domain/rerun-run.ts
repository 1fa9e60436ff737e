import { findPipeline, type Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import type { Run } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { type Change, perform } from './perform.ts';
import { queueRun } from './queue-run.ts';
import { forbids } from './run-actions.ts';
import { type ControlRun, requireEnabledAgency, requireRun, wakeWorkers } from './run-control.ts';
import { auditedPayload, readPayload } from './run-payload.ts';

/** Whose code a rerun takes: that of the first run, or what is registered now. */
export const pipelineChoices = ['PINNED', 'CURRENT'] as const;
export type PipelineChoice = (typeof pipelineChoices)[number];

export interface RerunRun extends ControlRun {
  /** PINNED if absent. */
  pipeline: PipelineChoice | null;
}

/**
 * Queues a new run with the inputs of another, in whatever state that is: the same request, and the very bytes that it pinned if it
 * came so far. All of the work is done again.
 *
 * @throws PIPELINE_NOT_FOUND the pipeline is not enabled any more
 * @throws NOT_FOUND, INVALID_INPUT, IDEMPOTENCY_CONFLICT
 */
export async function rerunRun(deps: DomainDeps, caller: Caller, input: RerunRun): Promise<Run> {
  const { value, repeated } = await perform<Run, void>(deps, caller, {
    action: 'run.rerun',
    resourceType: 'run',
    resourceId: input.runId,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { runId: input.runId, pipeline: input.pipeline },
    check: () => undefined,
    change: (tx) => queueAgain(deps, tx, caller, input),
    again: (tx, { runId }) => requireRun(tx, String(runId)),
  });
  if (!repeated) wakeWorkers(deps, value.id);
  return value;
}

async function queueAgain(deps: DomainDeps, tx: Connection, caller: Caller, input: RerunRun): Promise<Change<Run>> {
  await requireEnabledAgency(tx, caller);
  const first = await requireRun(tx, input.runId);
  const forbidden = forbids(first, 'RERUN');
  if (forbidden) throw new FluxError('INVALID_INPUT', forbidden, { details: { runId: first.id } });
  const pipeline = await choosePipeline(tx, first, input.pipeline ?? 'PINNED');
  const payload = await readPayload(deps, tx, first);
  const run = await queueRun(deps, tx, caller, {
    pipeline,
    stage: first.stage,
    payload,
    reason: input.reason,
    priority: first.priority,
    inputRun: first.inputRun,
    origin: { rerunOf: first.id },
  });
  return {
    value: run,
    resourceId: run.id,
    reference: { runId: run.id },
    after: {
      rerunOf: first.id,
      pipeline: { name: pipeline.name, version: pipeline.version },
      payload: auditedPayload(deps, payload),
    },
  };
}

/** The version that a new run of the same pipeline takes. @throws PIPELINE_NOT_FOUND the pipeline is not enabled any more */
export async function choosePipeline(
  tx: Connection,
  { pipelineName, pipelineVersion }: Run,
  choice: PipelineChoice,
): Promise<Pipeline> {
  const current = await findPipeline(tx, pipelineName, null);
  if (!current?.enabled) {
    throw new FluxError('PIPELINE_NOT_FOUND', `The pipeline ${pipelineName} is not enabled any more. Enable it first.`);
  }
  if (choice === 'CURRENT') return current;
  const pinned = await findPipeline(tx, pipelineName, pipelineVersion);
  if (pinned) return pinned;
  throw new FluxError(
    'PIPELINE_NOT_FOUND',
    `Pipeline ${pipelineName} ${String(pipelineVersion)} does not exist. Rerun it with the current version.`,
  );
}
