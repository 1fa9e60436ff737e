import { findPipeline, type Pipeline } from '../src/db/pipelines.ts';
import { findRun, type Run } from '../src/db/runs.ts';
import {
  type CatchUp,
  findSchedule,
  findScheduleByName,
  listSchedules,
  listTicks,
  type Overlap,
  type Schedule,
  type ScheduleTick,
} from '../src/db/schedules.ts';
import * as domain from '../src/domain/schedules.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { isUuid } from './ids.ts';

export type { CatchUp, Overlap, Schedule, ScheduleStatus, ScheduleTick, TickStatus } from '../src/db/schedules.ts';

export function schedule(ctx: Context, { name }: { name: string }): Promise<Schedule | null> {
  return read(ctx, (tx) => findScheduleByName(tx, name));
}

export async function scheduleById(ctx: Context, id: string): Promise<Schedule | null> {
  return isUuid(id) ? read(ctx, (tx) => findSchedule(tx, id)) : null;
}

export function schedules(ctx: Context, args: PageArgs): Promise<Page<Schedule>> {
  return pageOf(ctx, 'schedules', args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) => listSchedules(tx, { after: position?.[0] ?? null, limit, backward })),
    positionOf: ({ name }) => [name],
  });
}

export function pipelineOf(ctx: Context, { pipelineName }: { pipelineName: string }): Promise<Pipeline | null> {
  return read(ctx, (tx) => findPipeline(tx, pipelineName, null));
}

export function ticksOf(ctx: Context, { id }: Schedule, args: PageArgs): Promise<Page<ScheduleTick>> {
  return pageOf(ctx, `ticks:${id}`, args, {
    read: (position, limit, backward) => {
      const after = position?.[0] === undefined ? null : new Date(position[0]);
      return read(ctx, (tx) => listTicks(tx, { scheduleId: id, after, limit, backward }));
    },
    positionOf: ({ tickAt }) => [tickAt.toISOString()],
  });
}

/** The run that a tick or a date has started, unless it is classified above the caller. */
export async function runOf(ctx: Context, { runId }: { runId: string | null }): Promise<Run | null> {
  return runId === null ? null : read(ctx, (tx) => findRun(tx, runId));
}

export interface DatedArgs {
  pipeline: string;
  source?: string | null | undefined;
  metadata?: unknown;
  priority?: number | null | undefined;
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export function datedRequest({ pipeline, source = null, metadata = null, priority = null, ...asked }: DatedArgs) {
  return {
    pipeline,
    source,
    metadata,
    priority,
    reason: asked.reason ?? null,
    idempotencyKey: asked.idempotencyKey ?? null,
  };
}

export interface CreateScheduleArgs extends DatedArgs {
  name: string;
  cron: string;
  timeZone?: string | null | undefined;
  catchUp?: CatchUp | null | undefined;
  catchUpLimit?: number | null | undefined;
  overlap?: Overlap | null | undefined;
}

export function createSchedule(ctx: Context, input: CreateScheduleArgs): Promise<Schedule> {
  const { name, cron, timeZone = null, catchUp = null, catchUpLimit = null, overlap = null } = input;
  return domain.createSchedule(ctx.api, ctx, {
    ...datedRequest(input),
    name,
    cron,
    timeZone,
    catchUp,
    catchUpLimit,
    overlap,
  });
}

export interface ControlScheduleArgs {
  name: string;
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

const asked = ({ name, reason = null, idempotencyKey = null }: ControlScheduleArgs) => ({
  name,
  reason,
  idempotencyKey,
});

export function pauseSchedule(ctx: Context, input: ControlScheduleArgs): Promise<Schedule> {
  return domain.pauseSchedule(ctx.api, ctx, asked(input));
}

export function resumeSchedule(ctx: Context, input: ControlScheduleArgs): Promise<Schedule> {
  return domain.resumeSchedule(ctx.api, ctx, asked(input));
}

export function removeSchedule(ctx: Context, input: ControlScheduleArgs): Promise<Schedule> {
  return domain.removeSchedule(ctx.api, ctx, asked(input));
}
