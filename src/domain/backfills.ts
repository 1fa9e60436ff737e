import {
  type Backfill,
  type BackfillStep,
  cancelPendingDates,
  countDates,
  type DateCounts,
  findBackfill,
  insertBackfill,
  listDates,
  reopenDates,
  setBackfillStatus,
} from '../db/backfills.ts';
import type { Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import { inTenant } from '../db/transaction.ts';
import { FluxError, isFluxError } from '../errors.ts';
import { maskText, maskValue } from '../personal-data/mask.ts';
import { cancelRun } from './cancel-run.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { checkDatedRequest, type DatedRequest, requirePipeline } from './dated-request.ts';
import { type Change, perform } from './perform.ts';
import { requireEnabledAgency, requireReason } from './run-control.ts';
import { asksForDate, requireDate } from './source-date.ts';

export interface StartBackfill extends Asked, DatedRequest {
  /** `YYYY-MM-DD` */
  firstDate: string;
  /** Inclusive. */
  lastDate: string;
  /** DAY if absent; MONTH is the first of each month in the range. */
  step: BackfillStep | null;
  /** Most runs at once, 1 to 50; 4 if absent. */
  concurrency: number | null;
}

/** Ten years of days. */
const datesMax = 3_660;

/**
 * Makes a backfill: one run for each date of a range, some at a time, the oldest first. Workers start them.
 *
 * @throws INVALID_INPUT the range is none or too long, the source does not tell one date from another, or each date's records
 *   would take the place of those before
 * @throws PIPELINE_NOT_FOUND, IDEMPOTENCY_CONFLICT
 */
export async function startBackfill(deps: DomainDeps, caller: Caller, input: StartBackfill): Promise<Backfill> {
  const { pipeline, firstDate, lastDate, step, concurrency, source, priority, metadata } = input;
  const { value } = await perform(deps, caller, {
    action: 'backfill.start',
    resourceType: 'backfill',
    resourceId: null,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { pipeline, firstDate, lastDate, step, concurrency, source, priority, metadata: metadata ?? null },
    check: () => ({
      dates: datesOf(input),
      metadata: checkDatedRequest(caller, input),
      concurrency: concurrencyOf(input),
    }),
    change: (tx, checked) => add(tx, caller, input, checked),
    again: (tx, { id }) => requireBackfill(tx, String(id)),
  });
  return value;
}

async function add(
  tx: Connection,
  caller: Caller,
  input: StartBackfill,
  { dates, metadata, concurrency }: { dates: string[]; metadata: Record<string, unknown>; concurrency: number },
): Promise<Change<Backfill>> {
  await requireEnabledAgency(tx, caller);
  const pipeline = await requirePipeline(tx, input.pipeline);
  requireDistinct(pipeline, input.source);
  const backfill = await insertBackfill(
    tx,
    {
      pipelineName: pipeline.name,
      classification: pipeline.classification,
      firstDate: input.firstDate,
      lastDate: input.lastDate,
      step: input.step ?? 'DAY',
      concurrency,
      priority: input.priority ?? 0,
      source: input.source,
      metadata: maskValue(metadata),
      reason: input.reason === null ? null : maskText(input.reason),
      requestedBy: caller.principal.subject,
    },
    dates,
  );
  return {
    value: backfill,
    resourceId: backfill.id,
    reference: { id: backfill.id },
    after: { ...told(backfill), dates: dates.length },
  };
}

/** Each date has to read something of its own, and to leave the others' records where they are. */
function requireDistinct(pipeline: Pipeline, source: string | null): void {
  const definition = JSON.parse(pipeline.definition) as { source: { path: string }; destination: { mode: string } };
  const path = source ?? definition.source.path;
  if (!asksForDate(path)) {
    throw new FluxError(
      'INVALID_INPUT',
      `Every date would read the same ${path}. Put {date}, or {year}, {month} and {day}, into the pipeline's source.path, or pass a source that holds them.`,
      { details: { issues: [{ path: '/source', rule: 'date', message: 'expected {date} or its parts in the path' }] } },
    );
  }
  if (definition.destination.mode === 'replace') {
    throw new FluxError(
      'INVALID_INPUT',
      `The pipeline ${pipeline.name} replaces its dataset with each run, so only the last date would remain. Register it with the mode append or merge.`,
      { details: { issues: [{ path: '/pipeline', rule: 'mode', message: 'expected the mode append or merge' }] } },
    );
  }
}

/** The dates of a range, oldest first. @throws INVALID_INPUT */
export function datesOf({
  firstDate,
  lastDate,
  step,
}: Pick<StartBackfill, 'firstDate' | 'lastDate' | 'step'>): string[] {
  const first = new Date(`${requireDate(firstDate, 'firstDate')}T00:00:00Z`);
  const last = new Date(`${requireDate(lastDate, 'lastDate')}T00:00:00Z`);
  if (first > last) throw badRange(`The range begins on ${firstDate}, after its end on ${lastDate}.`);
  const dates: string[] = [];
  for (const at = new Date(first); at <= last; at.setUTCDate(at.getUTCDate() + 1)) {
    if (step === 'MONTH' && at.getUTCDate() !== 1) continue;
    dates.push(at.toISOString().slice(0, 10));
    if (dates.length > datesMax) throw badRange(`The range holds more than ${String(datesMax)} dates. Divide it.`);
  }
  if (dates.length === 0) throw badRange('The range holds the first of no month.');
  return dates;
}

function badRange(message: string): FluxError {
  return new FluxError('INVALID_INPUT', message, {
    details: { issues: [{ path: '/firstDate', rule: 'range', message }] },
  });
}

function concurrencyOf({ concurrency }: StartBackfill): number {
  const most = concurrency ?? 4;
  if (Number.isInteger(most) && most >= 1 && most <= 50) return most;
  throw new FluxError('INVALID_INPUT', `concurrency is ${String(most)}; pass 1 to 50.`, {
    details: { issues: [{ path: '/concurrency', rule: 'range', message: 'expected 1 to 50' }] },
  });
}

export interface ControlBackfill extends Asked {
  id: string;
}

/**
 * Starts no more dates, and asks the runs that are under way to stop, each in a request of its own under the same reason. It is
 * CANCELLED when they are over. Asking again changes nothing.
 *
 * @throws INVALID_TRANSITION it is over
 * @throws NOT_FOUND, INVALID_INPUT
 */
export async function cancelBackfill(deps: DomainDeps, caller: Caller, input: ControlBackfill): Promise<Backfill> {
  const backfill = await control(deps, caller, input, 'cancel', async (tx, before) => {
    if (before.status === 'CANCELLING') return;
    if (before.status !== 'RUNNING') throw over(before);
    await cancelPendingDates(tx, before.id);
    const { running } = await countDates(tx, before.id);
    await setBackfillStatus(tx, before.id, running === 0 ? 'CANCELLED' : 'CANCELLING');
  });
  const running = await inTenant(deps.pool, caller.sealed(), (tx) =>
    listDates(tx, { id: backfill.id, status: 'RUNNING', after: null, limit: 50, backward: false }),
  );
  for (const { runId } of running) {
    if (runId === null) continue;
    const request = { runId, reason: input.reason, idempotencyKey: null, graceSeconds: null };
    await cancelRun(deps, caller, request).catch((cause: unknown) => {
      if (!isFluxError(cause, 'INVALID_TRANSITION')) throw cause; // it was over meanwhile
    });
  }
  return backfill;
}

/**
 * Starts anew the dates that failed or were cancelled, and no others; each gets its next run with a key of its own.
 *
 * @throws INVALID_TRANSITION it is running, or every date has completed
 * @throws NOT_FOUND, INVALID_INPUT
 */
export function resumeBackfill(deps: DomainDeps, caller: Caller, input: ControlBackfill): Promise<Backfill> {
  return control(deps, caller, input, 'resume', async (tx, before) => {
    if (before.status !== 'FAILED' && before.status !== 'CANCELLED') throw over(before);
    await reopenDates(tx, before.id);
    await setBackfillStatus(tx, before.id, 'RUNNING');
  });
}

async function control(
  deps: DomainDeps,
  caller: Caller,
  input: ControlBackfill,
  verb: 'cancel' | 'resume',
  change: (tx: Connection, before: Backfill) => Promise<void>,
): Promise<Backfill> {
  const { value } = await perform<Backfill, void>(deps, caller, {
    action: `backfill.${verb}`,
    resourceType: 'backfill',
    resourceId: input.id,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { id: input.id, verb },
    check: () => requireReason(input, verb, 'a backfill'),
    async change(tx) {
      const before = await requireBackfill(tx, input.id, { lock: true });
      await change(tx, before);
      const after = await requireBackfill(tx, input.id);
      const counts: DateCounts = await countDates(tx, after.id);
      return {
        value: after,
        resourceId: after.id,
        reference: { id: after.id },
        before: told(before),
        after: { ...told(after), counts },
      };
    },
    again: (tx, { id }) => requireBackfill(tx, String(id)),
  });
  return value;
}

function over({ id, status }: Backfill): FluxError {
  const help =
    status === 'RUNNING' || status === 'CANCELLING'
      ? 'Wait for its end, or cancel it first.'
      : 'There is nothing left of it to do.';
  return new FluxError('INVALID_TRANSITION', `The backfill ${id} is ${status}. ${help}`);
}

async function requireBackfill(tx: Connection, id: string, options = { lock: false }): Promise<Backfill> {
  const backfill = await findBackfill(tx, id, options);
  if (backfill) return backfill;
  throw new FluxError('NOT_FOUND', 'There is no such backfill. List yours with flux backfills list.');
}

function told(backfill: Backfill): Record<string, unknown> {
  const { pipelineName, firstDate, lastDate, step, concurrency, priority, source, metadata, status } = backfill;
  return { pipeline: pipelineName, firstDate, lastDate, step, concurrency, priority, source, metadata, status };
}
