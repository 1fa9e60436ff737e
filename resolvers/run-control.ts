import type { Run } from '../src/db/runs.ts';
import { cancelRun as cancel } from '../src/domain/cancel-run.ts';
import { forkRun as fork, unknownCheckpoint } from '../src/domain/fork-run.ts';
import { type Replay, replayRun as replay } from '../src/domain/replay-run.ts';
import { reprocessRejected as reprocess } from '../src/domain/reprocess-rejected.ts';
import { planResume, type ResumePlan } from '../src/domain/resume-plan.ts';
import { resumeRun as resume } from '../src/domain/resume-run.ts';
import { type PipelineChoice, rerunRun as rerun } from '../src/domain/rerun-run.ts';
import { unknownRun } from '../src/events/read-after.ts';
import { type Context, read, recordMutationRefusal } from './context.ts';
import { checkpointIdOf, runIdOf } from './ids.ts';

export type { Replay } from '../src/domain/replay-run.ts';
export type { PipelineChoice } from '../src/domain/rerun-run.ts';
export type { PartitionPlan, ResumePlan } from '../src/domain/resume-plan.ts';

export interface ControlRunArgs {
  runId: string;
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export async function cancelRun(
  ctx: Context,
  input: ControlRunArgs & { graceSeconds?: number | null | undefined },
): Promise<Run> {
  return cancel(ctx.api, ctx, { ...(await asked(ctx, 'cancelRun', input)), graceSeconds: input.graceSeconds ?? null });
}

export async function resumeRun(ctx: Context, input: ControlRunArgs): Promise<Run> {
  return resume(ctx.api, ctx, await asked(ctx, 'resumeRun', input));
}

export async function rerunRun(
  ctx: Context,
  input: ControlRunArgs & { pipeline?: PipelineChoice | null | undefined },
): Promise<Run> {
  return rerun(ctx.api, ctx, { ...(await asked(ctx, 'rerunRun', input)), pipeline: input.pipeline ?? null });
}

export async function forkRun(
  ctx: Context,
  input: {
    checkpointId: string;
    pipeline?: PipelineChoice | null | undefined;
    reason: string;
    idempotencyKey?: string | null | undefined;
  },
): Promise<Run> {
  const checkpointId = checkpointIdOf(input.checkpointId);
  if (checkpointId === null) {
    const error = unknownCheckpoint(input.checkpointId);
    await recordMutationRefusal(ctx, 'forkRun', input.reason, error);
    throw error;
  }
  const { reason, pipeline = null, idempotencyKey = null } = input;
  return fork(ctx.api, ctx, { checkpointId, pipeline, reason, idempotencyKey });
}

export async function reprocessRejected(ctx: Context, input: ControlRunArgs): Promise<Run> {
  return reprocess(ctx.api, ctx, await asked(ctx, 'reprocessRejected', input));
}

export async function replayRun(ctx: Context, input: ControlRunArgs): Promise<Replay> {
  return replay(ctx.api, ctx, await asked(ctx, 'replayRun', input));
}

export function resumePlanOf(ctx: Context, run: Run): Promise<ResumePlan> {
  return read(ctx, (tx) => planResume(tx, run));
}

/** @throws NOT_FOUND what names no run is answered, and recorded, as a run that is not the caller's */
async function asked(
  ctx: Context,
  mutation: string,
  { runId: id, reason = null, idempotencyKey = null }: ControlRunArgs,
): Promise<{ runId: string; reason: string | null; idempotencyKey: string | null }> {
  const runId = runIdOf(id);
  if (runId === null) {
    const error = unknownRun(id);
    await recordMutationRefusal(ctx, mutation, reason, error);
    throw error;
  }
  return { runId, reason, idempotencyKey };
}
