import { findCheckpoint, type StoredCheckpoint } from '../db/checkpoints-read.ts';
import { type ForkedPlan, readForkedPlan } from '../db/forks.ts';
import type { Connection } from '../db/pool.ts';
import type { Run } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { type Change, perform } from './perform.ts';
import { queueRun } from './queue-run.ts';
import { choosePipeline } from './rerun-run.ts';
import { forbids } from './run-actions.ts';
import { requireEnabledAgency, requireReason, requireRun, wakeWorkers } from './run-control.ts';
import { auditedPayload, readPayload } from './run-payload.ts';

export interface ForkRun extends Asked {
  checkpointId: string;
}

/**
 * Queues a new run that goes on from a checkpoint of another, in whatever state that is: with its source, its cut and its version of the
 * pipeline. What every partition had committed when the checkpoint was saved is taken over; the rest is done anew. The first run
 * stays as it is.
 *
 * @throws NOT_FOUND there is no such checkpoint for the caller
 * @throws CHECKPOINT_CORRUPTED it does not verify
 * @throws CHECKPOINT_MISSING the records before it are not kept any more
 * @throws PIPELINE_NOT_FOUND, INVALID_INPUT, IDEMPOTENCY_CONFLICT
 */
export async function forkRun(deps: DomainDeps, caller: Caller, input: ForkRun): Promise<Run> {
  const { value, repeated } = await perform<Run, void>(deps, caller, {
    action: 'run.fork',
    resourceType: 'checkpoint',
    resourceId: input.checkpointId,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { checkpointId: input.checkpointId },
    check: () => requireReason(input, 'fork'),
    change: (tx) => queueFork(deps, tx, caller, input),
    again: (tx, { runId }) => requireRun(tx, String(runId)),
  });
  if (!repeated) wakeWorkers(deps, value.id);
  return value;
}

async function queueFork(deps: DomainDeps, tx: Connection, caller: Caller, input: ForkRun): Promise<Change<Run>> {
  await requireEnabledAgency(tx, caller);
  const checkpoint = await findCheckpoint(tx, input.checkpointId);
  if (!checkpoint) throw unknownCheckpoint(input.checkpointId);
  const first = await requireRun(tx, checkpoint.runId);
  const forbidden = forbids(first, 'FORK');
  if (forbidden) throw new FluxError('INVALID_INPUT', forbidden, { details: { runId: first.id } });
  await requireTakeable(tx, checkpoint);
  const origin = {
    forkedFrom: first.id,
    forkedPartition: checkpoint.partitionNo,
    forkedVersion: checkpoint.version,
  };
  const payload = { ...(await readPayload(deps, tx, first)), checkpoint_id: checkpoint.id };
  const run = await queueRun(deps, tx, caller, {
    pipeline: await choosePipeline(tx, first, 'PINNED'),
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
    after: { ...origin, payload: auditedPayload(deps, payload) },
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

/** Whether a run's load still holds, row for row, what its batches have written. */
export function hasForkableRecords(plan: ForkedPlan | null): boolean {
  return plan?.status === 'OPEN' || (plan?.status === 'PUBLISHED' && plan.mode !== 'merge');
}

/** One text for "not yours" and "does not exist". */
export function unknownCheckpoint(id: string): FluxError {
  return new FluxError('NOT_FOUND', `There is no checkpoint ${id}. List a run's with \`Run.checkpoints\`.`);
}
