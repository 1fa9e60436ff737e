import * as checkpoints from '../resolvers/checkpoint.ts';
import * as rejectedRecords from '../resolvers/rejected-record.ts';
import * as control from '../resolvers/run-control.ts';
import * as runEvents from '../resolvers/run-event.ts';
import * as standing from '../resolvers/run-standing.ts';
import * as runs from '../resolvers/run.ts';
import { isFinalStatus } from '../src/domain/run.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs } from './arguments.ts';
import { builder } from './builder.ts';
import { CheckpointPageRef, CheckpointVerificationRef } from './checkpoint.ts';
import { ClassificationRef } from './classification.ts';
import { DryRunPlanRef } from './dry-run.ts';
import { PipelineRef } from './pipeline.ts';
import { RejectedRecordPageRef } from './rejected-record.ts';
import { RunEventPageRef } from './run-event.ts';
import { ResumePlanRef } from './run-control.ts';
import { LoadRef, ReconciliationRef, RunFailureRef, RunPartitionRef } from './run-parts.ts';
import { RunProgressRef } from './run-progress.ts';
import { RunRef } from './run-ref.ts';
import { PermissionRef, RunActionRef, RunLineageRef, WaitingReasonRef } from './run-standing.ts';
import { ContentTypeRef, RunStageRef, RunStatusRef, UseCaseRef } from './vocabulary.ts';

builder.node(RunRef, {
  description: 'One requested execution of a pipeline.',
  auth: { scopes: [['run:read']] },
  id: { resolve: (run) => run.id },
  loadOne: (id, ctx) => runs.run(ctx, id),
  fields: (t) => ({
    runId: t.exposeID('id', { nullable: false, description: 'The run’s UUID, as events and logs show it.' }),
    pipeline: t.field({
      type: PipelineRef,
      description: 'The version of the pipeline that it executes.',
      resolve: (run, _args, ctx) => runs.pipelineOf(ctx, run),
    }),
    payload: t.field({
      type: 'JSON',
      auth: { scopes: [['data:read']] },
      description: 'The resolved request (schemas/v1/run-payload.schema.json).',
      resolve: (run, _args, ctx) => runs.payloadOf(ctx, run),
    }),
    status: t.expose('status', { type: RunStatusRef, nullable: false, description: 'Where it stands.' }),
    isTerminal: t.boolean({
      nullable: false,
      description: 'Whether the attempt is over.',
      resolve: (run) => isFinalStatus(run.status),
    }),
    version: t.expose('version', {
      type: 'BigInt',
      nullable: false,
      description: 'Rises with every change; ignore what is older than what you have.',
    }),
    attempt: t.exposeInt('attempt', { nullable: false, description: 'From 1; one more at each resume.' }),
    stage: t.expose('stage', { type: RunStageRef, nullable: false, description: 'What it was asked to do.' }),
    contentType: t.expose('contentType', {
      type: ContentTypeRef,
      nullable: false,
      description: 'What its records are made of.',
    }),
    useCase: t.expose('useCase', { type: UseCaseRef, nullable: false, description: 'What its result is for.' }),
    dryRun: t.boolean({
      nullable: false,
      description: 'Whether it writes nothing.',
      resolve: (run) => run.payload['dry_run'] === true,
    }),
    dryRunPlan: t.field({
      type: DryRunPlanRef,
      description: 'What a dry run found; null for any other run, and before it is done.',
      resolve: (run, _args, ctx) => runs.dryRunPlanOf(ctx, run),
    }),
    classification: t.expose('classification', {
      type: ClassificationRef,
      nullable: false,
      description: 'Who is not cleared for it does not see that it exists.',
    }),
    priority: t.exposeInt('priority', {
      nullable: false,
      description: 'From -100 to 100: of the agency’s own runs, those with more are taken first.',
    }),
    requestedBy: t.exposeString('requestedBy', { nullable: false, description: 'Who asked for it.' }),
    reason: t.exposeString('reason', { description: 'Why, in that person’s words.' }),
    traceId: t.exposeString('traceId', { description: 'The trace of the request that started it.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was asked for.' }),
    startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When a worker first took it.' }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', description: 'When it ended.' }),
    cancelDeadline: t.expose('cancelDeadline', {
      type: 'DateTime',
      description: 'When a requested cancel is forced, whoever has not acknowledged it; null when none was requested.',
    }),
    lastSeq: t.expose('lastSeq', { type: 'BigInt', nullable: false, description: 'The newest event’s `seq`.' }),
    failure: t.expose('failure', { type: RunFailureRef, description: 'Why it failed.' }),
    progress: t.field({
      type: RunProgressRef,
      description: 'How far it is.',
      resolve: (run, _args, ctx) => runs.progressOfRun(ctx, run),
    }),
    partitions: t.field({
      type: [RunPartitionRef],
      nullable: false,
      description: 'Its parts, by number; at most 1000.',
      resolve: (run, _args, ctx) => runs.partitionsOf(ctx, run),
    }),
    load: t.field({
      type: LoadRef,
      description: 'Its records in the dataset, once planned.',
      resolve: (run, _args, ctx) => runs.loadOf(ctx, run),
    }),
    reconciliation: t.field({
      type: ReconciliationRef,
      description: 'The counts of every step, and whether they add up; null before anything was counted.',
      resolve: (run, _args, ctx) => runs.reconciliationOf(ctx, run),
    }),
    events: t.field({
      type: RunEventPageRef,
      nullable: false,
      description: 'Its history. The cursors are those of `runEvents`.',
      args: pageArgs(t.arg),
      resolve: (run, args, ctx) => runEvents.eventsOf(ctx, run, args),
    }),
    checkpoints: t.field({
      type: CheckpointPageRef,
      nullable: false,
      description: 'Its checkpoints, by partition and version.',
      args: pageArgs(t.arg),
      resolve: (run, args, ctx) => checkpoints.checkpointsOf(ctx, run, args),
    }),
    checkpointVerification: t.field({
      type: CheckpointVerificationRef,
      nullable: false,
      description:
        'Recomputes all of its checkpoints now: digest, place, chain, and what its history says was saved. Reads every one of them, so it counts as 50 objects.',
      extensions: { cost: 50 },
      resolve: (run, _args, ctx) => checkpoints.verificationOf(ctx, run),
    }),
    waitingReason: t.field({
      type: WaitingReasonRef,
      description: 'Why it does not move now; null while it is worked on, and when it is over.',
      resolve: (run, _args, ctx) => standing.waitingReasonOfRun(ctx, run),
    }),
    can: t.field({
      type: PermissionRef,
      nullable: false,
      description: 'Whether the caller may ask something of it now, and if not, why.',
      args: { action: t.arg({ type: RunActionRef, required: true, description: 'What.' }) },
      resolve: (run, args, ctx) => standing.can(ctx, run, args),
    }),
    lineage: t.field({
      type: RunLineageRef,
      nullable: false,
      description: 'Where it comes from.',
      resolve: (run) => run,
    }),
    resumePlan: t.field({
      type: ResumePlanRef,
      description:
        'What a resume would keep, do again and begin, and what forbids it. Reads its checkpoints, so it counts as 10 objects.',
      extensions: { cost: 10 },
      resolve: (run, _args, ctx) => control.resumePlanOf(ctx, run),
    }),
    rejectedRecords: t.field({
      type: RejectedRecordPageRef,
      auth: { scopes: [['data:read']] },
      description: 'The records that the contract refused, by their place in the source.',
      args: pageArgs(t.arg),
      resolve: (run, args, ctx) => rejectedRecords.rejectedRecordsOf(ctx, run, args),
    }),
  }),
});

const RunPageRef = builder.connectionObject(
  {
    type: RunRef,
    name: 'RunConnection',
    fields: (t) => ({
      totalCount: t.field({
        type: 'BigInt',
        description: 'How many runs the filter finds in all; null above 100,000.',
        resolve: (page, _args, ctx) => runs.totalCount(ctx, page as unknown as runs.RunPage),
      }),
    }),
  },
  { name: 'RunEdge' },
);

export const RunFilterInput = builder.inputType('RunFilter', {
  description: 'Which runs; all conditions must hold.',
  fields: (t) => ({
    status: t.field({ type: [RunStatusRef], description: 'In one of these states.' }),
    pipeline: t.string({ description: 'Of the pipeline of this name, any version.' }),
    contentType: t.field({ type: ContentTypeRef, description: 'Of this content type.' }),
    useCase: t.field({ type: UseCaseRef, description: 'Of this use case.' }),
    createdAfter: t.field({ type: 'DateTime', description: 'Asked for after this instant.' }),
    createdBefore: t.field({ type: 'DateTime', description: 'Asked for before this instant.' }),
  }),
});

const OrderDirectionRef = builder.enumType('OrderDirection', {
  description: 'Which end of a list comes first.',
  values: { ASC: { description: 'The oldest.' }, DESC: { description: 'The newest.' } } as const,
});

const RunOrderInput = builder.inputType('RunOrder', {
  description: 'The order of runs: by the time at which they were asked for.',
  fields: (t) => ({
    direction: t.field({
      type: OrderDirectionRef,
      required: true,
      defaultValue: 'DESC',
      description: 'The newest first if absent.',
    }),
  }),
});

builder.queryFields((t) => ({
  run: t.field({
    type: RunRef,
    auth: { scopes: [['run:read']] },
    description: 'A run; null when there is none for the caller.',
    args: { id: t.arg.id({ required: true, description: 'Global id or UUID.' }) },
    resolve: (_root, { id }, ctx) => runs.run(ctx, id),
  }),
  runs: t.field({
    type: RunPageRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description: 'The agency’s runs.',
    args: {
      filter: t.arg({ type: RunFilterInput, description: 'Which; all if absent.' }),
      orderBy: t.arg({ type: RunOrderInput, description: 'In which order; the newest first if absent.' }),
      ...pageArgs(t.arg),
    },
    resolve: (_root, args, ctx) => runs.runs(ctx, args),
  }),
}));

const StartRunInput = builder.inputType('StartRunInput', {
  description: 'What to run: `pipeline` or `payload`, exactly one of them.',
  fields: (t) => ({
    pipeline: t.string({ description: 'The pipeline’s name; its current version runs.' }),
    payload: t.field({
      type: 'JSON',
      description:
        'A bare payload (schemas/v1/run-payload.schema.json): resolves to the only enabled pipeline of its content type and use case, or to the one that `metadata.pipeline` names.',
    }),
    stage: t.field({
      type: RunStageRef,
      description:
        'What to do; FULL if absent. INGEST and TRANSFORM leave typed parts behind; TRANSFORM and EXPORT read those of the last completed run of the stage before.',
    }),
    dryRun: t.boolean({
      description:
        'Read and check, write nothing: the run ends with `Run.dryRunPlan`, and touches neither dataset, object store nor quarantine.',
    }),
    full: t.boolean({
      description:
        'Read everything, whatever earlier runs have read; for pipelines with `source.incremental`, whose mark is set anew by it.',
    }),
    priority: t.int({
      description:
        'From -100 to 100, 0 if absent: of the agency’s own runs, those with more are taken first. It counts for nothing between agencies.',
    }),
    metadata: t.field({
      type: 'JSON',
      description: 'The caller’s own notes, kept with the run: an object of texts, numbers and booleans.',
    }),
    reason: t.string({ description: 'Why; kept with the run and in the audit log. At most 2000 characters.' }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('startRun', (t) =>
  t.field({
    type: RunRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description: 'Queues a run.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'StartRunResult', description: 'The queued run, or why not.' },
    },
    args: { input: t.arg({ type: StartRunInput, required: true, description: 'What to run.' }) },
    resolve: (_root, { input }, ctx) => runs.startRun(ctx, input),
  }),
);
