import type { Connection } from '../db/pool.ts';
import { askHoldersToStop, cancelAllPartitions, cancelIdlePartitions, lockRunPartitions } from '../db/run-control.ts';
import type { Run } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import { appendEvents, type NewRunEvent } from '../events/append.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { type Change, perform } from './perform.ts';
import { auditState, type ControlRun, keyOf, requireReason, requireRun, wakeWorkers } from './run-control.ts';
import { forbids } from './run-actions.ts';

export interface CancelRun extends ControlRun {
  /** How long the workers have to acknowledge, seconds; `graceSeconds.default` if absent. */
  graceSeconds: number | null;
}

export const graceSeconds = { default: 30, most: 3_600 } as const;

/**
 * Asks a run to stop. Its partitions that nobody holds are cancelled at once, and the run with them when there are no others;
 * each holder acknowledges at its next batch boundary, or loses its partition by force at the deadline (`cancelDeadline`).
 * From the request on no batch commits. Asking again changes nothing.
 *
 * @throws INVALID_TRANSITION the run has completed or failed
 * @throws NOT_FOUND, INVALID_INPUT, IDEMPOTENCY_CONFLICT
 */
export async function cancelRun(deps: DomainDeps, caller: Caller, input: CancelRun): Promise<Run> {
  const { value, repeated } = await perform<Run, number>(deps, caller, {
    action: 'run.cancel',
    resourceType: 'run',
    resourceId: input.runId,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { runId: input.runId, graceSeconds: input.graceSeconds },
    check: () => graceMsOf(input),
    change: (tx, graceMs) => requestCancel(tx, caller, input, graceMs),
    again: (tx, { runId }) => requireRun(tx, String(runId)),
  });
  if (!repeated) wakeWorkers(deps, value.id);
  return value;
}

function graceMsOf(input: CancelRun): number {
  requireReason(input, 'cancel');
  const seconds = input.graceSeconds ?? graceSeconds.default;
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= graceSeconds.most) return seconds * 1_000;
  throw new FluxError(
    'INVALID_INPUT',
    `graceSeconds is ${String(seconds)}; pass a whole number from 1 to ${String(graceSeconds.most)}, or none for ${String(graceSeconds.default)}.`,
    { details: { issues: [{ path: '/graceSeconds', rule: 'range', message: 'expected 1 to 3600' }] } },
  );
}

async function requestCancel(tx: Connection, caller: Caller, input: CancelRun, graceMs: number): Promise<Change<Run>> {
  const asked = await requireRun(tx, input.runId);
  // A run that has not begun holds nothing worth a wait; one that has must not miss a heartbeat for us.
  await lockRunPartitions(tx, keyOf(asked), { exclusive: asked.status === 'PENDING' });
  const before = await requireRun(tx, input.runId);
  const forbidden = forbids(before, 'CANCEL');
  if (forbidden) throw new FluxError('INVALID_TRANSITION', forbidden, { details: { runId: before.id } });
  if (before.status === 'PENDING') await cancelAtOnce(tx, caller, before, input);
  if (before.status === 'IN_PROGRESS') await askToStop(tx, caller, before, input, graceMs);
  const run = await requireRun(tx, input.runId);
  return {
    value: run,
    resourceId: run.id,
    reference: { runId: run.id },
    before: auditState(before),
    after: { ...auditState(run), cancelDeadline: run.cancelDeadline?.toISOString() ?? null },
  };
}

async function cancelAtOnce(tx: Connection, caller: Caller, run: Run, input: CancelRun): Promise<void> {
  await cancelAllPartitions(tx, keyOf(run));
  await endNow(tx, run, requested(caller, input, { deadline: null, waitingFor: [] }));
}

async function askToStop(tx: Connection, caller: Caller, run: Run, input: CancelRun, graceMs: number): Promise<void> {
  const cancelled = await cancelIdlePartitions(tx, keyOf(run));
  const { partitions, deadline } = await askHoldersToStop(tx, keyOf(run), graceMs);
  const event = requested(caller, input, {
    deadline: deadline?.toISOString() ?? null,
    waitingFor: partitions,
    cancelledPartitions: cancelled,
  });
  if (deadline === null) return endNow(tx, run, event);
  const transition = { from: ['IN_PROGRESS'], to: 'CANCELLING', cancelDeadline: deadline } as const;
  await appendEvents(tx, keyOf(run), [event], transition);
}

async function endNow(tx: Connection, run: Run, event: NewRunEvent): Promise<void> {
  const ended: NewRunEvent = {
    name: 'RunCancelled',
    message: 'Cancelled: no worker held any of it.',
    data: { forced: false },
  };
  await appendEvents(tx, keyOf(run), [event, ended], { from: [run.status], to: 'CANCELLED', finishes: true });
}

function requested(
  { principal }: Caller,
  { reason }: CancelRun,
  data: { deadline: string | null; waitingFor: number[]; cancelledPartitions?: number },
): NewRunEvent {
  const waiting =
    data.waitingFor.length === 0 ? '' : ` ${String(data.waitingFor.length)} partitions have to acknowledge it.`;
  return {
    name: 'CancelRequested',
    message: `${principal.subject} asked the run to stop.${waiting}`,
    data: { ...data, by: principal.subject, reason },
  };
}
