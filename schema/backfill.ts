import * as backfills from '../resolvers/backfill.ts';
import * as schedules from '../resolvers/schedule.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';
import { PipelineRef } from './pipeline.ts';
import { RunRef } from './run-ref.ts';

const BackfillStepRef = builder.enumType('BackfillStep', {
  description: 'Which dates of a range.',
  values: {
    DAY: { description: 'Every one.' },
    MONTH: { description: 'The first of each month.' },
  } satisfies Record<backfills.BackfillStep, { description: string }>,
});

const BackfillStatusRef = builder.enumType('BackfillStatus', {
  description: 'Where a backfill stands.',
  values: {
    RUNNING: { description: 'Dates are open.' },
    COMPLETED: { description: 'The run of every date has completed.' },
    FAILED: { description: 'Over, and some date has failed. `resumeBackfill` starts those anew.' },
    CANCELLING: { description: 'Asked to stop; some runs are not over yet.' },
    CANCELLED: { description: 'Stopped on request. `resumeBackfill` starts what did not complete.' },
  } satisfies Record<backfills.BackfillStatus, { description: string }>,
});

const BackfillDateStatusRef = builder.enumType('BackfillDateStatus', {
  description: 'Where a date of a backfill stands.',
  values: {
    PENDING: { description: 'It has no run yet.' },
    RUNNING: { description: 'Its run is queued or at work.' },
    COMPLETED: { description: 'Its run has completed.' },
    FAILED: { description: 'Its run has failed, or could not be started.' },
    CANCELLED: { description: 'Cancelled before or during its run.' },
  } satisfies Record<backfills.BackfillDateStatus, { description: string }>,
});

const BackfillDateRef = builder.objectRef<backfills.BackfillDate>('BackfillDate').implement({
  description: 'One date of a backfill, with its run.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    date: t.exposeString('date', { nullable: false, description: 'YYYY-MM-DD.' }),
    status: t.expose('status', { type: BackfillDateStatusRef, nullable: false, description: 'Where it stands.' }),
    attempt: t.exposeInt('attempt', { nullable: false, description: 'From 1; one more for each run of the date.' }),
    run: t.field({
      type: RunRef,
      description: 'Its newest run.',
      resolve: (date, _args, ctx) => schedules.runOf(ctx, date),
    }),
    message: t.exposeString('message', { description: 'Why it failed.' }),
    idempotencyKey: t.string({
      nullable: false,
      description: 'The key under which its run is started, once.',
      resolve: (date) => backfills.dateKey(date),
    }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', nullable: false, description: 'When it last changed.' }),
  }),
});

const DatePageRef = builder.connectionObject(
  { type: BackfillDateRef, name: 'BackfillDateConnection' },
  { name: 'BackfillDateEdge' },
);

const BackfillProgressRef = builder.objectRef<backfills.DateCounts>('BackfillProgress').implement({
  description: 'How many dates stand where.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    total: t.exposeInt('total', { nullable: false, description: 'All dates.' }),
    pending: t.exposeInt('pending', { nullable: false, description: 'Without a run yet.' }),
    running: t.exposeInt('running', { nullable: false, description: 'With a run that is not over.' }),
    completed: t.exposeInt('completed', { nullable: false, description: 'Completed.' }),
    failed: t.exposeInt('failed', { nullable: false, description: 'Failed.' }),
    cancelled: t.exposeInt('cancelled', { nullable: false, description: 'Cancelled.' }),
    fraction: t.float({
      nullable: false,
      description: 'Of the dates, how many are over: 0 to 1.',
      resolve: ({ total, pending, running }) => (total - pending - running) / total,
    }),
  }),
});

export const BackfillRef = builder.objectRef<backfills.Backfill>('Backfill');

builder.node(BackfillRef, {
  description: 'One run of a pipeline for each date of a range.',
  auth: { scopes: [['run:read']] },
  id: { resolve: ({ id }) => id },
  loadOne: (id, ctx) => backfills.backfill(ctx, id),
  fields: (t) => ({
    backfillId: t.exposeID('id', { nullable: false, description: 'Its UUID, as runs and the audit log show it.' }),
    pipelineName: t.exposeString('pipelineName', { nullable: false, description: 'The pipeline’s name.' }),
    pipeline: t.field({
      type: PipelineRef,
      description: 'The pipeline’s current version, which the next date runs.',
      resolve: (backfill, _args, ctx) => schedules.pipelineOf(ctx, backfill),
    }),
    firstDate: t.exposeString('firstDate', { nullable: false, description: 'YYYY-MM-DD.' }),
    lastDate: t.exposeString('lastDate', { nullable: false, description: 'YYYY-MM-DD, inclusive.' }),
    step: t.expose('step', { type: BackfillStepRef, nullable: false, description: 'Which dates of the range.' }),
    concurrency: t.exposeInt('concurrency', { nullable: false, description: 'Most runs at once.' }),
    priority: t.exposeInt('priority', { nullable: false, description: 'That of its runs.' }),
    source: t.exposeString('source', { description: 'The path in place of the pipeline’s own.' }),
    metadata: t.field({
      type: 'JSON',
      auth: { scopes: [['data:read']] },
      description: 'Notes that each run gets, beside `backfill` and `date`.',
      resolve: (backfill) => backfill.metadata,
    }),
    status: t.expose('status', { type: BackfillStatusRef, nullable: false, description: 'Where it stands.' }),
    progress: t.field({
      type: BackfillProgressRef,
      nullable: false,
      description: 'How far it is.',
      resolve: (backfill, _args, ctx) => backfills.countsOf(ctx, backfill),
    }),
    dates: t.field({
      type: DatePageRef,
      nullable: false,
      description: 'Its dates, in order.',
      args: {
        status: t.arg({ type: BackfillDateStatusRef, description: 'Only those that stand so.' }),
        ...pageArgs(t.arg),
      },
      resolve: (backfill, args, ctx) => backfills.datesOf(ctx, backfill, args),
    }),
    requestedBy: t.exposeString('requestedBy', { nullable: false, description: 'Who asked for it.' }),
    reason: t.exposeString('reason', { description: 'Why, in that person’s words.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was asked for.' }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', description: 'When it ended.' }),
  }),
});

const BackfillPageRef = builder.connectionObject(
  { type: BackfillRef, name: 'BackfillConnection' },
  { name: 'BackfillEdge' },
);

builder.queryFields((t) => ({
  backfill: t.field({
    type: BackfillRef,
    auth: { scopes: [['run:read']] },
    description: 'A backfill; null when there is none for the caller.',
    args: { id: t.arg.id({ required: true, description: 'Global id or UUID.' }) },
    resolve: (_root, { id }, ctx) => backfills.backfill(ctx, id),
  }),
  backfills: t.field({
    type: BackfillPageRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description: 'The agency’s backfills, newest first.',
    args: pageArgs(t.arg),
    resolve: (_root, args, ctx) => backfills.backfills(ctx, args),
  }),
}));

const StartBackfillInput = builder.inputType('StartBackfillInput', {
  description: 'Which pipeline is to run for which dates.',
  fields: (t) => ({
    pipeline: t.string({ required: true, description: 'The pipeline’s name, of the mode append or merge.' }),
    firstDate: t.string({ required: true, description: 'YYYY-MM-DD.' }),
    lastDate: t.string({ required: true, description: 'YYYY-MM-DD, inclusive; at most 3660 dates.' }),
    step: t.field({ type: BackfillStepRef, description: 'Which dates of the range; DAY if absent.' }),
    concurrency: t.int({ description: 'Most runs at once, 1 to 50; 4 if absent.' }),
    source: t.string({
      description:
        'A path in place of the pipeline’s own. One of them has to hold `{date}`, or `{year}`, `{month}` and `{day}`.',
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

const ControlBackfillInput = builder.inputType('ControlBackfillInput', {
  description: 'Which backfill, and why.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'Global id or UUID.' }),
    reason: t.string({ required: true, description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationFields((t) => ({
  startBackfill: t.field({
    type: BackfillRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Makes a backfill. Workers start its runs, the oldest date first, as many at once as `concurrency` says.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'StartBackfillResult', description: 'The backfill, RUNNING, or why not.' },
    },
    args: { input: t.arg({ type: StartBackfillInput, required: true, description: 'The backfill.' }) },
    resolve: (_root, { input }, ctx) => backfills.startBackfill(ctx, input),
  }),
  cancelBackfill: t.field({
    type: BackfillRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description: 'Starts no more dates and asks the runs that are under way to stop.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'CancelBackfillResult', description: 'The backfill, CANCELLING or CANCELLED, or why not.' },
    },
    args: { input: t.arg({ type: ControlBackfillInput, required: true, description: 'Which, and why.' }) },
    resolve: (_root, { input }, ctx) => backfills.cancelBackfill(ctx, input),
  }),
  resumeBackfill: t.field({
    type: BackfillRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description: 'Starts anew the dates that failed or were cancelled, and no others.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'ResumeBackfillResult', description: 'The backfill, RUNNING again, or why not.' },
    },
    args: { input: t.arg({ type: ControlBackfillInput, required: true, description: 'Which, and why.' }) },
    resolve: (_root, { input }, ctx) => backfills.resumeBackfill(ctx, input),
  }),
}));
