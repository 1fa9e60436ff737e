import type { Connection } from '../db/pool.ts';
import { reopenPartitions } from '../db/resume-plan.ts';
import { lockRunPartitions } from '../db/run-control.ts';
import type { Run } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import { appendEvents } from '../events/append.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { type Change, perform } from './perform.ts';
import { planResume, type ResumeDisposition, resumeDispositions, type ResumePlan } from './resume-plan.ts';
import {
  auditState,
  type ControlRun,
  keyOf,
  requireEnabledAgency,
  requireReason,
  requireRun,
  wakeWorkers,
} from './run-control.ts';

/**
 * Begins a run's next attempt after it FAILED or was CANCELLED: what was completed is kept, with its load; every other partition
 * is free again and goes on from its last checkpoint that verifies, the plan too if it never finished.
 *
 * @throws INVALID_TRANSITION the run has completed, or goes on by itself
 * @throws CHECKPOINT_INCOMPATIBLE, CHECKPOINT_CORRUPTED its checkpoints let nobody go on; `Run.resumePlan` says it beforehand
 * @throws NOT_FOUND, INVALID_INPUT, IDEMPOTENCY_CONFLICT
 */
export async function resumeRun(deps: DomainDeps, caller: Caller, input: ControlRun): Promise<Run> {
  const { value, repeated } = await perform<Run, void>(deps, caller, {
    action: 'run.resume',
    resourceType: 'run',
    resourceId: input.runId,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { runId: input.runId },
    check: () => requireReason(input, 'resume'),
    change: (tx) => beginAttempt(tx, caller, input),
    again: (tx, { runId }) => requireRun(tx, String(runId)),
  });
  if (!repeated) wakeWorkers(deps, value.id);
  return value;
}

async function beginAttempt(tx: Connection, caller: Caller, input: ControlRun): Promise<Change<Run>> {
  await requireEnabledAgency(tx, caller);
  const key = keyOf(await requireRun(tx, input.runId));
  await lockRunPartitions(tx, key, { exclusive: true });
  const before = await requireRun(tx, input.runId);
  const plan = await planResume(tx, before);
  if (plan.forbiddenBy) {
    throw new FluxError(plan.forbiddenBy.code, plan.forbiddenBy.message, { details: { runId: before.id } });
  }
  await reopenPartitions(tx, key);
  const summary = { attempt: plan.attempt, ...countDispositions(plan) };
  await appendEvents(
    tx,
    key,
    [
      {
        name: 'RunResumed',
        message: `Attempt ${String(plan.attempt)} begins, asked for by ${caller.principal.subject}: ${inWords(summary)}.`,
        data: { ...summary, by: caller.principal.subject, reason: input.reason, goesOnFrom: goesOnFrom(plan) },
      },
    ],
    { from: [before.status], to: 'PENDING', resumes: true },
  );
  const run = await requireRun(tx, input.runId);
  return {
    value: run,
    resourceId: run.id,
    reference: { runId: run.id },
    before: { ...auditState(before), failure: before.failure },
    after: { ...auditState(run), ...summary },
  };
}

type Counts = Record<ResumeDisposition, number>;

function countDispositions({ partitions }: ResumePlan): Counts {
  const count = (wanted: ResumeDisposition): number =>
    partitions.filter(({ disposition }) => disposition === wanted).length;
  return Object.fromEntries(resumeDispositions.map((disposition) => [disposition, count(disposition)])) as Counts;
}

function inWords({ KEPT, CONTINUED, REDONE, NEVER_STARTED }: Counts): string {
  return `${String(KEPT)} partitions kept, ${String(CONTINUED)} continued, ${String(REDONE)} done again, ${String(NEVER_STARTED)} never started`;
}

/** An event is no report: `Run.resumePlan` and the checkpoints have the rest. */
const listedMax = 100;

function goesOnFrom({ partitions }: ResumePlan): { partition: number; version: number }[] {
  return partitions
    .flatMap(({ partitionNo, checkpointVersion }) =>
      checkpointVersion === null ? [] : [{ partition: partitionNo, version: checkpointVersion }],
    )
    .slice(0, listedMax);
}
