import { canonicalText } from '../contracts/canonical.ts';
import { lockName } from '../db/idempotency.ts';
import { findPipeline, type Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import { countOpenRejected, findActiveReprocessing, isLoadVisible } from '../db/reprocessing.ts';
import type { Run } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import type { PipelineDefinition } from '../etl/engine-types.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { type Change, perform } from './perform.ts';
import { readPayload } from './run-payload.ts';
import { queueRun } from './queue-run.ts';
import { choosePipeline } from './rerun-run.ts';
import { type ControlRun, keyOf, requireEnabledAgency, requireReason, requireRun, wakeWorkers } from './run-control.ts';

/**
 * Queues a new run that puts the rejected records of a completed one through the pipeline's current version again, read from the
 * source that the first run pinned. What is good now lands beside what the first run wrote, each record once; what is
 * broken still stays in the first run's quarantine, with the new reasons.
 *
 * @throws RUN_CONFLICT another run does so already
 * @throws INVALID_INPUT nothing is left to reprocess, or the run or its pipeline does not allow it
 * @throws NOT_FOUND, PIPELINE_NOT_FOUND, IDEMPOTENCY_CONFLICT
 */
export async function reprocessRejected(deps: DomainDeps, caller: Caller, input: ControlRun): Promise<Run> {
  const { value, repeated } = await perform<Run, void>(deps, caller, {
    action: 'run.reprocess',
    resourceType: 'run',
    resourceId: input.runId,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { runId: input.runId },
    check: () => requireReason(input, 'reprocess'),
    change: (tx) => queueReprocessing(deps, tx, caller, input),
    again: (tx, { runId }) => requireRun(tx, String(runId)),
  });
  if (!repeated) wakeWorkers(deps, value.id);
  return value;
}

async function queueReprocessing(
  deps: DomainDeps,
  tx: Connection,
  caller: Caller,
  input: ControlRun,
): Promise<Change<Run>> {
  await requireEnabledAgency(tx, caller);
  const first = await requireRun(tx, input.runId);
  // Of two that ask at once the second sees the first one's run.
  await lockName(tx, 'reprocess', first.id);
  const { open, pipeline } = await requireReprocessable(tx, first);
  const run = await queueRun(deps, tx, caller, {
    pipeline,
    stage: 'FULL',
    payload: await readPayload(deps, tx, first),
    reason: input.reason,
    priority: first.priority,
    origin: { reprocessOf: first.id },
  });
  return {
    value: run,
    resourceId: run.id,
    reference: { runId: run.id },
    after: {
      reprocessOf: first.id,
      openRecords: open,
      pipeline: { name: pipeline.name, version: pipeline.version },
    },
  };
}

/** @returns how many records are left, and the version of the pipeline that they would go through. @throws why they could not */
export async function requireReprocessable(tx: Connection, first: Run): Promise<{ open: number; pipeline: Pipeline }> {
  requireState(first);
  const open = await requireOpenRecords(tx, first);
  const pipeline = await choosePipeline(tx, first, 'CURRENT');
  const pinned = await findPipeline(tx, first.pipelineName, first.pipelineVersion);
  requireSamePlaces(first, pinned?.definition ?? '{}', pipeline.definition);
  return { open, pipeline };
}

function requireState({ id, status, stage, payload, reprocessOf }: Run): void {
  if (reprocessOf !== null) {
    throw invalid(
      id,
      `Run ${id} has reprocessed the rejected records of run ${reprocessOf}, where they stay. Reprocess those of run ${reprocessOf}.`,
    );
  }
  if (stage !== 'FULL' || payload['dry_run'] === true) {
    throw invalid(id, `Run ${id} did not write to a dataset. Correct the contract and ingest the source again.`);
  }
  if (status === 'COMPLETED') return;
  throw invalid(
    id,
    `Run ${id} is ${status}; rejected records are reprocessed beside what a completed run wrote. Resume it first, or start a new run.`,
  );
}

async function requireOpenRecords(tx: Connection, run: Run): Promise<number> {
  const key = keyOf(run);
  const active = await findActiveReprocessing(tx, key);
  if (active !== null) {
    throw new FluxError(
      'RUN_CONFLICT',
      `Run ${active} is reprocessing the rejected records of run ${run.id} now. Wait for its end, or cancel it.`,
      { details: { runId: active } },
    );
  }
  const open = await countOpenRejected(tx, key);
  if (open === 0) {
    throw invalid(run.id, `Run ${run.id} has no rejected record that has not landed. There is nothing to reprocess.`);
  }
  if (await isLoadVisible(tx, key)) return open;
  throw invalid(
    run.id,
    `What run ${run.id} wrote was replaced by a later run. Reprocess the rejected records of that one.`,
  );
}

/** The places of the records mean nothing in another format, and the records belong into the same dataset. */
function requireSamePlaces({ id }: Run, before: string, now: string): void {
  const [old, current] = [JSON.parse(before), JSON.parse(now)] as [PipelineDefinition, PipelineDefinition];
  if (
    canonicalText(old.source.format) === canonicalText(current.source.format) &&
    old.destination.dataset === current.destination.dataset
  ) {
    return;
  }
  throw invalid(
    id,
    'The pipeline’s current version has another source.format or another dataset than the one that rejected the records, so ' +
      'their places do not hold any more. Rerun the run with the current version instead.',
  );
}

function invalid(runId: string, message: string): FluxError {
  return new FluxError('INVALID_INPUT', message, { details: { runId } });
}
