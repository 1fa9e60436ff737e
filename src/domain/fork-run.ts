import { canonicalBytes } from '../canonical-json.ts';
import { findCheckpoint, type StoredCheckpoint } from '../db/checkpoints-read.ts';
import { type ForkedPlan, readForkedPlan } from '../db/forks.ts';
import type { Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import type { Run } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import type { PipelineDefinition } from '../etl/engine-types.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { type Change, perform } from './perform.ts';
import { queueRun } from './queue-run.ts';
import { choosePipeline, type PipelineChoice } from './rerun-run.ts';
import type { Wanted } from './resolve-pipeline.ts';
import { forbids } from './run-actions.ts';
import { requireEnabledAgency, requireReason, requireRun, wakeWorkers } from './run-control.ts';
import { auditedPayload, readPayload } from './run-payload.ts';

export interface ForkRun extends Asked {
  checkpointId: string;
  /** PINNED if absent. */
  pipeline?: PipelineChoice | null;
  /** The payload that names the checkpoint: what else it says must be so of the first run. Throws when it breaks a rule. */
  payload?: () => Wanted;
}

/**
 * Queues a new run that goes on from a checkpoint of another, in whatever state that is: with its source, its cut, and its version of
 * the pipeline or a current one that does the same to each record. What every partition had committed when the checkpoint was saved is taken over; the rest is done anew. The first run
 * stays as it is.
 *
 * @throws NOT_FOUND there is no such checkpoint for the caller
 * @throws CHECKPOINT_CORRUPTED it does not verify
 * @throws CHECKPOINT_INCOMPATIBLE the current version would go on otherwise than the first run began
 * @throws CHECKPOINT_MISSING the records before it are not kept any more
 * @throws PIPELINE_NOT_FOUND, INVALID_INPUT, IDEMPOTENCY_CONFLICT
 */
export async function forkRun(deps: DomainDeps, caller: Caller, input: ForkRun): Promise<Run> {
  const { value, repeated } = await perform<Run, Wanted | null>(deps, caller, {
    action: 'run.fork',
    resourceType: 'checkpoint',
    resourceId: input.checkpointId,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: {
      checkpointId: input.checkpointId,
      ...(input.pipeline === 'CURRENT' ? { pipeline: input.pipeline } : {}),
    },
    check() {
      requireReason(input, 'fork');
      if (!uuid.test(input.checkpointId)) throw unknownCheckpoint(input.checkpointId);
      return input.payload?.() ?? null;
    },
    change: (tx, wanted) => queueFork(deps, tx, caller, input, wanted),
    again: (tx, { runId }) => requireRun(tx, String(runId)),
  });
  if (!repeated) wakeWorkers(deps, value.id);
  return value;
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

async function queueFork(
  deps: DomainDeps,
  tx: Connection,
  caller: Caller,
  input: ForkRun,
  wanted: Wanted | null,
): Promise<Change<Run>> {
  await requireEnabledAgency(tx, caller);
  const checkpoint = await findCheckpoint(tx, input.checkpointId);
  if (!checkpoint) throw unknownCheckpoint(input.checkpointId);
  const first = await requireRun(tx, checkpoint.runId);
  const forbidden = forbids(first, 'FORK');
  if (forbidden) throw new FluxError('INVALID_INPUT', forbidden, { details: { runId: first.id } });
  await requireTakeable(tx, checkpoint);
  const firstPayload = await readPayload(deps, tx, first);
  if (wanted) requireOfFirst(wanted, first, firstPayload);
  const pipeline = await choosePipeline(tx, first, input.pipeline ?? 'PINNED');
  if (pipeline.version !== first.pipelineVersion) {
    requireCompatible(pipeline, await choosePipeline(tx, first, 'PINNED'));
  }
  const origin = {
    forkedFrom: first.id,
    forkedPartition: checkpoint.partitionNo,
    forkedVersion: checkpoint.version,
  };
  const payload = { ...firstPayload, checkpoint_id: checkpoint.id };
  const run = await queueRun(deps, tx, caller, {
    pipeline,
    stage: first.stage,
    payload,
    reason: input.reason,
    priority: first.priority,
    origin,
  });
  return {
    value: run,
    resourceId: run.id,
    reference: { runId: run.id },
    after: {
      ...origin,
      pipeline: { name: pipeline.name, version: pipeline.version },
      payload: auditedPayload(deps, payload),
    },
  };
}

async function requireTakeable(
  tx: Connection,
  { runId, integrity, version, partitionNo }: StoredCheckpoint,
): Promise<void> {
  const name = `Checkpoint ${String(version)} of partition ${String(partitionNo)} of run ${runId}`;
  if (integrity !== 'VERIFIED') {
    throw new FluxError(
      'CHECKPOINT_CORRUPTED',
      `${name} does not match its SHA-256 or its place. Choose an older one, or rerun the run.`,
      { details: { runId } },
    );
  }
  if (hasForkableRecords(await readForkedPlan(tx, runId))) return;
  throw new FluxError(
    'CHECKPOINT_MISSING',
    `${name} cannot be gone on from: the records before it were merged into the dataset or replaced since. Rerun the run.`,
    { details: { runId } },
  );
}

/** A payload with a checkpoint says again what the first run was asked for, or leaves it out. */
function requireOfFirst({ name, purpose, stage, payload }: Wanted, first: Run, its: Record<string, unknown>): void {
  const differing = [
    name !== null && name !== first.pipelineName ? 'metadata.pipeline' : null,
    purpose !== null && purpose.contentType !== first.contentType ? 'content_type' : null,
    purpose !== null && purpose.useCase !== first.useCase ? 'use_case' : null,
    stage === first.stage ? null : 'stage',
    payload.dry_run ? 'dry_run' : null,
    (payload.source ?? null) === null || payload.source === its['source'] ? null : 'source',
  ].filter((field) => field !== null);
  if (differing.length === 0) return;
  throw new FluxError(
    'INVALID_INPUT',
    `The payload's checkpoint_id means a fork of run ${first.id}, and its ${differing.join(', ')} is another than that run's. Leave it out or make it the same.`,
    {
      details: {
        issues: differing.map((path) => ({
          path: `/${path.replace('.', '/')}`,
          rule: 'fork',
          message: 'expected what the first run has',
        })),
      },
    },
  );
}

/** What of a definition decides neither what becomes of a record nor where it goes. */
const indifferent = ['title', 'description', 'schedule', 'batch', 'personalData'];

function requireCompatible(current: Pipeline, first: Pipeline): void {
  if (current.classification === first.classification && essenceOf(current).equals(essenceOf(first))) return;
  const names = `${first.name} ${String(first.version)} and ${String(current.version)}`;
  throw new FluxError(
    'CHECKPOINT_INCOMPATIBLE',
    `The versions ${names} differ in more than ${indifferent.join(', ')} and the ratio of rejected records, so what one began the other must not end. Fork with the first run's version, or start a new run.`,
  );
}

function essenceOf({ definition }: Pipeline): Buffer {
  const parts = Object.entries(JSON.parse(definition) as PipelineDefinition).filter(
    ([name]) => !indifferent.includes(name),
  );
  const { contract, ...essence } = Object.fromEntries(parts) as unknown as PipelineDefinition;
  return canonicalBytes({ ...essence, contract: contract ? { ...contract, maxRejectedRatio: null } : null });
}

/** Whether a run's load still holds, row for row, what its batches have written. */
export function hasForkableRecords(plan: ForkedPlan | null): boolean {
  return plan?.status === 'OPEN' || (plan?.status === 'PUBLISHED' && plan.mode !== 'merge');
}

/** One text for "not yours" and "does not exist". */
export function unknownCheckpoint(id: string): FluxError {
  return new FluxError('NOT_FOUND', `There is no checkpoint ${id}. List a run's with \`Run.checkpoints\`.`);
}
