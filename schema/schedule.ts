import * as schedules from '../resolvers/schedule.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';
import { PipelineRef } from './pipeline.ts';
import { RunRef } from './run-ref.ts';

const CatchUpRef = builder.enumType('CatchUp', {
  description: 'What becomes of ticks that were missed because no worker was there: more than a minute late.',
  values: {
    NONE: { description: 'They are skipped.' },
    LATEST: { description: 'The newest of them is made up for.' },
    ALL: { description: 'The newest of them are made up for, one after the other, up to `catchUpLimit`.' },
  } satisfies Record<schedules.CatchUp, { description: string }>,
});

const OverlapRef = builder.enumType('Overlap', {
  description: 'What a tick does while a run of the schedule is not over.',
  values: {
    SKIP: { description: 'It is skipped. One that is made up for waits.' },
    QUEUE: { description: 'It waits, and starts its run when the one before is over; at most 100 wait.' },
    ALLOW: { description: 'It starts its run beside the other.' },
  } satisfies Record<schedules.Overlap, { description: string }>,
});

const ScheduleStatusRef = builder.enumType('ScheduleStatus', {
  description: 'Whether a schedule starts runs.',
  values: {
    ACTIVE: { description: 'It does.' },
    PAUSED: { description: 'It does not, until it is resumed.' },
    REMOVED: { description: 'It never will again.' },
  } satisfies Record<schedules.ScheduleStatus, { description: string }>,
});

const TickStatusRef = builder.enumType('ScheduleTickStatus', {
  description: 'What became of a tick.',
  values: {
    STARTED: { description: 'It has started its run.' },
    WAITING: { description: 'It waits for the run before it to be over.' },
    SKIPPED: { description: 'It starts no run; `reason` says why.' },
    FAILED: { description: 'Its run could not be started; `reason` is the code.' },
  } satisfies Record<schedules.TickStatus, { description: string }>,
});

const ScheduleTickRef = builder.objectRef<schedules.ScheduleTick>('ScheduleTick').implement({
  description: 'One time at which a schedule was due. Each is decided once.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    tickAt: t.expose('tickAt', { type: 'DateTime', nullable: false, description: 'When it was due.' }),
    status: t.expose('status', { type: TickStatusRef, nullable: false, description: 'What became of it.' }),
    run: t.field({
      type: RunRef,
      description: 'The run that it has started.',
      resolve: (tick, _args, ctx) => schedules.runOf(ctx, tick),
    }),
    reason: t.exposeString('reason', {
      description:
        'Why it was skipped: STILL_RUNNING, MISSED, CATCH_UP_LIMIT, QUEUE_FULL, PAUSED or REMOVED; MISSED_MANY and CATCH_UP_LIMIT_MANY where more were missed than are counted. Or the code of the failure.',
    }),
    message: t.exposeString('message', { description: 'Why it failed, in words.' }),
    standsFor: t.exposeInt('standsFor', {
      nullable: false,
      description: 'Ticks that the entry stands for: itself, and earlier ones that were missed with it.',
    }),
    caughtUp: t.exposeBoolean('caughtUp', {
      nullable: false,
      description: 'Whether it was missed, and decided later.',
    }),
    decidedAt: t.expose('decidedAt', { type: 'DateTime', nullable: false, description: 'When it was decided.' }),
  }),
});

const TickPageRef = builder.connectionObject(
  { type: ScheduleTickRef, name: 'ScheduleTickConnection' },
  { name: 'ScheduleTickEdge' },
);

export const ScheduleRef = builder.objectRef<schedules.Schedule>('Schedule');

builder.node(ScheduleRef, {
  description: 'When runs of a pipeline start by themselves.',
  auth: { scopes: [['run:read']] },
  id: { resolve: ({ id }) => id },
  loadOne: (id, ctx) => schedules.scheduleById(ctx, id),
  fields: (t) => ({
    name: t.exposeString('name', { nullable: false, description: 'Unique among those that were not removed.' }),
    pipelineName: t.exposeString('pipelineName', { nullable: false, description: 'The pipeline’s name.' }),
    pipeline: t.field({
      type: PipelineRef,
      description: 'The pipeline’s current version, which the next tick runs.',
      resolve: (schedule, _args, ctx) => schedules.pipelineOf(ctx, schedule),
    }),
    cron: t.exposeString('cron', {
      nullable: false,
      description: 'Five fields: minute, hour, day of the month, month, day of the week.',
    }),
    timeZone: t.exposeString('timeZone', { nullable: false, description: 'The IANA time zone in which it is read.' }),
    catchUp: t.expose('catchUp', { type: CatchUpRef, nullable: false, description: 'What becomes of missed ticks.' }),
    catchUpLimit: t.exposeInt('catchUpLimit', { nullable: false, description: 'Most that ALL makes up for.' }),
    overlap: t.expose('overlap', {
      type: OverlapRef,
      nullable: false,
      description: 'What a tick does while a run is not over.',
    }),
    priority: t.exposeInt('priority', { nullable: false, description: 'That of its runs.' }),
    source: t.exposeString('source', { description: 'The path in place of the pipeline’s own.' }),
    metadata: t.field({
      type: 'JSON',
      auth: { scopes: [['data:read']] },
      description: 'Notes that each run gets, beside `schedule`, `tick` and `date`.',
      resolve: (schedule) => schedule.metadata,
    }),
    status: t.expose('status', { type: ScheduleStatusRef, nullable: false, description: 'Whether it starts runs.' }),
    nextTickAt: t.expose('nextTickAt', { type: 'DateTime', description: 'The next tick; null while it starts none.' }),
    ticks: t.field({
      type: TickPageRef,
      nullable: false,
      description: 'Its ticks that were decided, newest first.',
      args: pageArgs(t.arg),
      resolve: (schedule, args, ctx) => schedules.ticksOf(ctx, schedule, args),
    }),
    version: t.expose('version', { type: 'BigInt', nullable: false, description: 'Rises with every change.' }),
    createdBy: t.exposeString('createdBy', { nullable: false, description: 'Who made it.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was made.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', nullable: false, description: 'When it last changed.' }),
  }),
});

const SchedulePageRef = builder.connectionObject(
  { type: ScheduleRef, name: 'ScheduleConnection' },
  { name: 'ScheduleEdge' },
);

builder.queryFields((t) => ({
  schedule: t.field({
    type: ScheduleRef,
    auth: { scopes: [['run:read']] },
    description: 'A schedule; null when there is none for the caller.',
    args: { name: t.arg.string({ required: true, description: 'Its name.' }) },
    resolve: (_root, args, ctx) => schedules.schedule(ctx, args),
  }),
  schedules: t.field({
    type: SchedulePageRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description: 'The agency’s schedules, by name.',
    args: pageArgs(t.arg),
    resolve: (_root, args, ctx) => schedules.schedules(ctx, args),
  }),
}));

const CreateScheduleInput = builder.inputType('CreateScheduleInput', {
  description: 'When runs of which pipeline start.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'A to z, digits and dashes; at most 63.' }),
    pipeline: t.string({ required: true, description: 'The pipeline’s name; each tick runs its current version.' }),
    cron: t.string({
      required: true,
      description: 'Five fields: minute, hour, day of the month, month, day of the week.',
    }),
    timeZone: t.string({ description: 'IANA name such as America/New_York; UTC if absent.' }),
    catchUp: t.field({ type: CatchUpRef, description: 'What becomes of missed ticks; LATEST if absent.' }),
    catchUpLimit: t.int({ description: 'Most missed ticks that ALL makes up for, 1 to 100; 10 if absent.' }),
    overlap: t.field({ type: OverlapRef, description: 'What a tick does while a run is not over; SKIP if absent.' }),
    source: t.string({
      description:
        'A path in place of the pipeline’s own. `{date}`, `{year}`, `{month}` and `{day}` in either stand for the tick’s date in the time zone.',
    }),
    metadata: t.field({
      type: 'JSON',
      description: 'Notes that each run gets: an object of texts, numbers and booleans.',
    }),
    priority: t.int({ description: 'That of its runs, -100 to 100; 0 if absent.' }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

const ControlScheduleInput = builder.inputType('ControlScheduleInput', {
  description: 'Which schedule, and why.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'Its name.' }),
    reason: t.string({ description: `${reasonDescription} Needed to pause and to remove.` }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationFields((t) => ({
  createSchedule: t.field({
    type: ScheduleRef,
    nullable: false,
    auth: { scopes: [['schedule:write']] },
    description: 'Makes a schedule; its first tick is the next one from now.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'CreateScheduleResult', description: 'The schedule, or why not.' },
    },
    args: { input: t.arg({ type: CreateScheduleInput, required: true, description: 'The schedule.' }) },
    resolve: (_root, { input }, ctx) => schedules.createSchedule(ctx, input),
  }),
  pauseSchedule: t.field({
    type: ScheduleRef,
    nullable: false,
    auth: { scopes: [['schedule:write']] },
    description:
      'Stops a schedule’s ticks until it is resumed. Ticks that wait are skipped; runs that are under way go on.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'PauseScheduleResult', description: 'The schedule, PAUSED, or why not.' },
    },
    args: { input: t.arg({ type: ControlScheduleInput, required: true, description: 'Which, and why.' }) },
    resolve: (_root, { input }, ctx) => schedules.pauseSchedule(ctx, input),
  }),
  resumeSchedule: t.field({
    type: ScheduleRef,
    nullable: false,
    auth: { scopes: [['schedule:write']] },
    description: 'Goes on with the next tick from now: what a pause has passed over was not missed.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'ResumeScheduleResult', description: 'The schedule, ACTIVE, or why not.' },
    },
    args: { input: t.arg({ type: ControlScheduleInput, required: true, description: 'Which.' }) },
    resolve: (_root, { input }, ctx) => schedules.resumeSchedule(ctx, input),
  }),
  removeSchedule: t.field({
    type: ScheduleRef,
    nullable: false,
    auth: { scopes: [['schedule:write']] },
    description: 'Ends a schedule for good. Its ticks and runs stay, and its name is free.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'RemoveScheduleResult', description: 'The schedule, REMOVED, or why not.' },
    },
    args: { input: t.arg({ type: ControlScheduleInput, required: true, description: 'Which, and why.' }) },
    resolve: (_root, { input }, ctx) => schedules.removeSchedule(ctx, input),
  }),
}));
