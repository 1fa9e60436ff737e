import type { Connection } from '../db/pool.ts';
import {
  type CatchUp,
  findSchedule,
  findScheduleByName,
  insertSchedule,
  type Overlap,
  readClock,
  type Schedule,
  setScheduleStatus,
  skipWaitingTicks,
} from '../db/schedules.ts';
import { FluxError } from '../errors.ts';
import { maskValue } from '../personal-data/mask.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { cronClock } from './cron.ts';
import { checkDatedRequest, type DatedRequest, requirePipeline } from './dated-request.ts';
import { type Change, perform } from './perform.ts';
import { requireReason } from './run-control.ts';

export interface CreateSchedule extends Asked, DatedRequest {
  name: string;
  /** Five fields. */
  cron: string;
  /** IANA name; UTC if absent. */
  timeZone: string | null;
  /** LATEST if absent. */
  catchUp: CatchUp | null;
  /** Most ticks that ALL makes up for, 1 to 100; 10 if absent. */
  catchUpLimit: number | null;
  /** SKIP if absent. */
  overlap: Overlap | null;
}

/**
 * Makes a schedule; its first tick is the next one from now.
 *
 * @throws INVALID_INPUT the name is taken or no name, the cron or the time zone is not valid, a note or the source breaks a rule
 * @throws PIPELINE_NOT_FOUND, IDEMPOTENCY_CONFLICT
 */
export async function createSchedule(deps: DomainDeps, caller: Caller, input: CreateSchedule): Promise<Schedule> {
  const { value } = await perform(deps, caller, {
    action: 'schedule.create',
    resourceType: 'schedule',
    resourceId: input.name.slice(0, 63),
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: settingsOf(input),
    check: () => {
      requireName(input.name);
      requireCatchUpLimit(input.catchUpLimit);
      cronClock(input.cron, input.timeZone ?? 'UTC');
      return checkDatedRequest(caller, input);
    },
    change: (tx, metadata) => add(tx, caller, input, metadata),
    again: (tx, { name }) => requireSchedule(tx, String(name)),
  });
  return value;
}

function settingsOf(input: CreateSchedule): Record<string, unknown> {
  const { name, pipeline, cron, timeZone, catchUp, catchUpLimit, overlap, source, priority, metadata } = input;
  return {
    name,
    pipeline,
    cron,
    timeZone,
    catchUp,
    catchUpLimit,
    overlap,
    source,
    priority,
    metadata: metadata ?? null,
  };
}

async function add(
  tx: Connection,
  { principal }: Caller,
  input: CreateSchedule,
  metadata: Record<string, unknown>,
): Promise<Change<Schedule>> {
  const pipeline = await requirePipeline(tx, input.pipeline);
  const timeZone = input.timeZone ?? 'UTC';
  const schedule = await insertSchedule(tx, {
    name: input.name,
    pipelineName: pipeline.name,
    classification: pipeline.classification,
    cron: input.cron.trim(),
    timeZone,
    catchUp: input.catchUp ?? 'LATEST',
    catchUpLimit: input.catchUpLimit ?? 10,
    overlap: input.overlap ?? 'SKIP',
    priority: input.priority ?? 0,
    source: input.source,
    metadata: maskValue(metadata),
    createdBy: principal.subject,
    nextTickAt: cronClock(input.cron, timeZone).after(await readClock(tx)),
  }).catch((cause: unknown) => {
    if ((cause as { code?: unknown }).code !== '23505') throw cause;
    throw new FluxError(
      'INVALID_INPUT',
      `The name ${input.name} is taken by another schedule. Choose another, or remove that one.`,
      { cause },
    );
  });
  return { value: schedule, resourceId: schedule.name, reference: { name: schedule.name }, after: told(schedule) };
}

export interface ControlSchedule extends Asked {
  name: string;
}

/** No tick is due until it is resumed; ticks that wait are skipped, runs that are under way go on. Pausing again changes nothing. @throws NOT_FOUND, INVALID_INPUT */
export function pauseSchedule(deps: DomainDeps, caller: Caller, input: ControlSchedule): Promise<Schedule> {
  return control(deps, caller, input, 'pause', async (tx, schedule) => {
    if (schedule.status === 'PAUSED') return;
    await skipWaitingTicks(tx, schedule.id, 'PAUSED');
    await setScheduleStatus(tx, schedule.id, { status: 'PAUSED', nextTickAt: null });
  });
}

/** Goes on with the next tick from now: what a pause has passed over was not missed. @throws NOT_FOUND */
export function resumeSchedule(deps: DomainDeps, caller: Caller, input: ControlSchedule): Promise<Schedule> {
  return control(deps, caller, input, 'resume', async (tx, schedule) => {
    if (schedule.status === 'ACTIVE') return;
    const nextTickAt = cronClock(schedule.cron, schedule.timeZone).after(await readClock(tx));
    await setScheduleStatus(tx, schedule.id, { status: 'ACTIVE', nextTickAt });
  });
}

/** Ends it for good; its ticks and runs stay, its name is free. @throws NOT_FOUND, INVALID_INPUT */
export function removeSchedule(deps: DomainDeps, caller: Caller, input: ControlSchedule): Promise<Schedule> {
  return control(deps, caller, input, 'remove', async (tx, schedule) => {
    await skipWaitingTicks(tx, schedule.id, 'REMOVED');
    await setScheduleStatus(tx, schedule.id, { status: 'REMOVED', nextTickAt: null });
  });
}

async function control(
  deps: DomainDeps,
  caller: Caller,
  input: ControlSchedule,
  verb: 'pause' | 'resume' | 'remove',
  change: (tx: Connection, schedule: Schedule) => Promise<void>,
): Promise<Schedule> {
  const { value } = await perform<Schedule, void>(deps, caller, {
    action: `schedule.${verb}`,
    resourceType: 'schedule',
    resourceId: input.name.slice(0, 63),
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { name: input.name, verb },
    check: () => {
      if (verb !== 'resume') requireReason(input, verb, 'a schedule');
    },
    async change(tx) {
      const before = await requireSchedule(tx, input.name, { lock: true });
      await change(tx, before);
      const after = (await findSchedule(tx, before.id)) ?? before;
      return {
        value: after,
        resourceId: after.name,
        reference: { id: after.id },
        before: told(before),
        after: told(after),
      };
    },
    again: async (tx, { id }) => {
      const found = await findSchedule(tx, String(id));
      if (!found) throw unknownSchedule(input.name);
      return found;
    },
  });
  return value;
}

export async function requireSchedule(tx: Connection, name: string, options = { lock: false }): Promise<Schedule> {
  const schedule = await findScheduleByName(tx, name, options);
  if (!schedule) throw unknownSchedule(name);
  return schedule;
}

function unknownSchedule(name: string): FluxError {
  return new FluxError('NOT_FOUND', `There is no schedule ${name.slice(0, 63)}. List yours with flux schedules list.`);
}

function told(schedule: Schedule): unknown {
  const { name, pipelineName, cron, timeZone, catchUp, catchUpLimit, overlap, priority, source, metadata, status } =
    schedule;
  const nextTickAt = schedule.nextTickAt?.toISOString() ?? null;
  return {
    name,
    pipeline: pipelineName,
    cron,
    timeZone,
    catchUp,
    catchUpLimit,
    overlap,
    priority,
    source,
    metadata,
    status,
    nextTickAt,
  };
}

function requireName(name: string): void {
  if (/^[a-z0-9][a-z0-9-]{0,62}$/.test(name)) return;
  throw new FluxError(
    'INVALID_INPUT',
    'name should be 1 to 63 of a to z, 0 to 9 and dashes, beginning with a letter or digit.',
    {
      details: { issues: [{ path: '/name', rule: 'pattern', message: 'expected a name such as nightly-strikes' }] },
    },
  );
}

function requireCatchUpLimit(limit: number | null): void {
  if (limit === null || (Number.isInteger(limit) && limit >= 1 && limit <= 100)) return;
  throw new FluxError('INVALID_INPUT', `catchUpLimit is ${String(limit)}; pass 1 to 100.`, {
    details: { issues: [{ path: '/catchUpLimit', rule: 'range', message: 'expected 1 to 100' }] },
  });
}
