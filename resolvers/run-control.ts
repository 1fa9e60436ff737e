import type { Run } from '../src/db/runs.ts';
import { cancelRun as cancel } from '../src/domain/cancel-run.ts';
import { forkRun as fork, unknownCheckpoint } from '../src/domain/fork-run.ts';
import { type Replay, replayRun as replay } from '../src/domain/replay-run.ts';
import { planResume, type ResumePlan } from '../src/domain/resume-plan.ts';
import { resumeRun as resume } from '../src/domain/resume-run.ts';
import { type PipelineChoice, rerunRun as rerun } from '../src/domain/rerun-run.ts';
import { unknownRun } from '../src/events/read-after.ts';
import { type Context, read } from './context.ts';
import { checkpointIdOf, runIdOf } from './ids.ts';

export type { Replay } from '../src/domain/replay-run.ts';
export type { PipelineChoice } from '../src/domain/rerun-run.ts';
export type { PartitionPlan, ResumePlan } from '../src/domain/resume-plan.ts';

export interface ControlRunArgs {
  runId: string;
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export function cancelRun(
  ctx: Context,
  input: ControlRunArgs & { graceSeconds?: number | null | undefined },
): Promise<Run> {
  return cancel(ctx.api, ctx, { ...asked(input), graceSeconds: input.graceSeconds ?? null });
}

export function resumeRun(ctx: Context, input: ControlRunArgs): Promise<Run> {
  return resume(ctx.api, ctx, asked(input));
}

export function rerunRun(
  ctx: Context,
  input: ControlRunArgs & { pipeline?: PipelineChoice | null | undefined },
): Promise<Run> {
  return rerun(ctx.api, ctx, { ...asked(input), pipeline: input.pipeline ?? null });
}

export async function forkRun(
  ctx: Context,
  input: { checkpointId: string; reason: string; idempotencyKey?: string | null | undefined },
): Promise<Run> {
  const checkpointId = checkpointIdOf(input.checkpointId);
  if (checkpointId === null) throw unknownCheckpoint(input.checkpointId);
  return fork(ctx.api, ctx, { checkpointId, reason: input.reason, idempotencyKey: input.idempotencyKey ?? null });
}

export function replayRun(ctx: Context, input: ControlRunArgs): Promise<Replay> {
  return replay(ctx.api, ctx, asked(input));
}

export function resumePlanOf(ctx: Context, run: Run): Promise<ResumePlan> {
  return read(ctx, (tx) => planResume(tx, run));
}

/** @throws NOT_FOUND what names no run is answered as a run that is not the caller's */
function asked({ runId: id, reason, idempotencyKey }: ControlRunArgs): {
  runId: string;
  reason: string | null;
  idempotencyKey: string | null;
} {
  const runId = runIdOf(id);
  if (runId === null) throw unknownRun(id);
  return { runId, reason: reason ?? null, idempotencyKey: idempotencyKey ?? null };
}
