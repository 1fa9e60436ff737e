import * as checkpoints from '../resolvers/checkpoint.ts';
import * as control from '../resolvers/run-control.ts';
import { idempotencyKeyDescription, mutationErrors } from './arguments.ts';
import { builder } from './builder.ts';
import { CheckpointError } from './errors.ts';
import { CheckpointRef } from './checkpoint.ts';
import { RunRef } from './run-ref.ts';
import './run-replay.ts';
import { PartitionKindRef } from './vocabulary.ts';

const reasonDescription = 'Why; kept in the run’s history and in the audit log. 1 to 2000 characters.';
const runIdDescription = 'The run, by global id or UUID.';

const CancelRunInput = builder.inputType('CancelRunInput', {
  description: 'Which run is to stop, and why.',
  fields: (t) => ({
    runId: t.id({ required: true, description: runIdDescription }),
    reason: t.string({ required: true, description: reasonDescription }),
    graceSeconds: t.int({
      description: 'How long its workers have to acknowledge before it is ended by force: 1 to 3600; 30 if absent.',
    }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('cancelRun', (t) =>
  t.field({
    type: RunRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Asks a run to stop. From then on no batch of it commits; it is CANCELLED when every worker that holds a part of it has acknowledged, at the latest by force at `cancelDeadline`. A run that nobody holds is cancelled at once. Asking again changes nothing.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'CancelRunResult', description: 'The run, CANCELLING or CANCELLED, or why not.' },
    },
    args: { input: t.arg({ type: CancelRunInput, required: true, description: 'Which run, and why.' }) },
    resolve: (_root, { input }, ctx) => control.cancelRun(ctx, input),
  }),
);

const ResumeRunInput = builder.inputType('ResumeRunInput', {
  description: 'Which run is to go on, and why.',
  fields: (t) => ({
    runId: t.id({ required: true, description: runIdDescription }),
    reason: t.string({ required: true, description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('resumeRun', (t) =>
  t.field({
    type: RunRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Begins the next attempt of a run that FAILED or was CANCELLED. What it completed is kept; the rest goes on from the last checkpoints that verify. `Run.resumePlan` shows it beforehand. The same event cursor goes on.',
    errors: {
      types: [...mutationErrors, CheckpointError],
      union: { name: 'ResumeRunResult', description: 'The run, PENDING again, or why not.' },
    },
    args: { input: t.arg({ type: ResumeRunInput, required: true, description: 'Which run, and why.' }) },
    resolve: (_root, { input }, ctx) => control.resumeRun(ctx, input),
  }),
);

const PipelineChoiceRef = builder.enumType('PipelineChoice', {
  description: 'Which version of the pipeline a new run takes.',
  values: {
    PINNED: { description: 'That of the first run.' },
    CURRENT: { description: 'The newest that is registered.' },
  } satisfies Record<control.PipelineChoice, { description: string }>,
});

const RerunRunInput = builder.inputType('RerunRunInput', {
  description: 'Which run to repeat.',
  fields: (t) => ({
    runId: t.id({ required: true, description: runIdDescription }),
    pipeline: t.field({ type: PipelineChoiceRef, description: 'Which version of the pipeline; PINNED if absent.' }),
    reason: t.string({ description: 'Why; kept with the new run and in the audit log. At most 2000 characters.' }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('rerunRun', (t) =>
  t.field({
    type: RunRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Queues a new run with the inputs of another, in whatever state that is: the same request, and the very bytes that it pinned. All of the work is done again.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'RerunRunResult', description: 'The new run, or why not.' },
    },
    args: { input: t.arg({ type: RerunRunInput, required: true, description: 'Which run.' }) },
    resolve: (_root, { input }, ctx) => control.rerunRun(ctx, input),
  }),
);

const ForkRunInput = builder.inputType('ForkRunInput', {
  description: 'Which checkpoint a new run is to go on from, and why.',
  fields: (t) => ({
    checkpointId: t.id({ required: true, description: 'The checkpoint, by global id or UUID.' }),
    pipeline: t.field({
      type: PipelineChoiceRef,
      description:
        'Which version of the pipeline; PINNED if absent. CURRENT has to do the same to each record: CHECKPOINT_INCOMPATIBLE otherwise.',
    }),
    reason: t.string({ required: true, description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('forkRun', (t) =>
  t.field({
    type: RunRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Queues a new run that goes on from a checkpoint of another, in whatever state that is. What every partition had committed when the checkpoint was saved is taken over; the rest is done anew, with the same source and, unless asked otherwise, the same version of the pipeline.',
    errors: {
      types: [...mutationErrors, CheckpointError],
      union: { name: 'ForkRunResult', description: 'The new run, or why not.' },
    },
    args: { input: t.arg({ type: ForkRunInput, required: true, description: 'Which checkpoint, and why.' }) },
    resolve: (_root, { input }, ctx) => control.forkRun(ctx, input),
  }),
);

const ReprocessRejectedInput = builder.inputType('ReprocessRejectedInput', {
  description: 'Whose rejected records are to be put through the contract again, and why.',
  fields: (t) => ({
    runId: t.id({ required: true, description: 'The run that rejected them, by global id or UUID. It has completed.' }),
    reason: t.string({ required: true, description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('reprocessRejected', (t) =>
  t.field({
    type: RunRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Queues a new run that puts the rejected records of a completed one through the pipeline’s current version again, read from the source that the first run pinned. What is good now lands beside what the first run wrote, each record once, however often this is asked for; what is broken still stays rejected, with the new reasons.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'ReprocessRejectedResult', description: 'The new run, or why not.' },
    },
    args: { input: t.arg({ type: ReprocessRejectedInput, required: true, description: 'Whose, and why.' }) },
    resolve: (_root, { input }, ctx) => control.reprocessRejected(ctx, input),
  }),
);

const ResumeDispositionRef = builder.enumType('ResumeDisposition', {
  description: 'What a resume does with a partition.',
  values: {
    KEPT: { description: 'Completed; not touched again.' },
    CONTINUED: { description: 'Goes on from its last checkpoint that verifies.' },
    REDONE: { description: 'Was taken but saved no checkpoint, so nothing of it is there; begins anew.' },
    NEVER_STARTED: { description: 'Was never taken.' },
  } satisfies Record<control.PartitionPlan['disposition'], { description: string }>,
});

const PartitionPlanRef = builder.objectRef<control.PartitionPlan>('PartitionPlan').implement({
  description: 'What a resume would do with one partition.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    partitionNo: t.exposeInt('partitionNo', { nullable: false, description: 'From 0, which is the plan.' }),
    kind: t.expose('kind', { type: PartitionKindRef, nullable: false, description: 'What it is for.' }),
    disposition: t.expose('disposition', {
      type: ResumeDispositionRef,
      nullable: false,
      description: 'What would become of it.',
    }),
    checkpoint: t.field({
      type: CheckpointRef,
      description: 'The checkpoint that it would go on from.',
      resolve: (plan, _args, ctx) => checkpoints.checkpointById(ctx, plan.checkpointId),
    }),
    recordsKept: t.expose('recordsKept', {
      type: 'BigInt',
      nullable: false,
      description: 'Records of the source that would not be read again.',
    }),
    corruptedVersions: t.expose('corruptedVersions', {
      type: ['Int'],
      nullable: false,
      description: 'Checkpoints that do not verify and would be passed over, newest first.',
    }),
  }),
});

const ForbiddenByRef = builder.objectRef<NonNullable<control.ResumePlan['forbiddenBy']>>('ForbiddenBy').implement({
  description: 'What stands in the way of a request.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    code: t.exposeString('code', {
      nullable: false,
      description: 'The code with which it would be refused; docs/errors.md lists all.',
    }),
    message: t.exposeString('message', { nullable: false, description: 'Why, and what to do instead.' }),
  }),
});

export const ResumePlanRef = builder.objectRef<control.ResumePlan>('ResumePlan').implement({
  description: 'What a resume of the run, as it stands, would do.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    attempt: t.exposeInt('attempt', { nullable: false, description: 'The attempt that it would begin.' }),
    forbiddenBy: t.expose('forbiddenBy', {
      type: ForbiddenByRef,
      description: 'Why it would be refused; null when it would not.',
    }),
    partitions: t.expose('partitions', {
      type: [PartitionPlanRef],
      nullable: false,
      description: 'What would become of each partition, by number.',
    }),
  }),
});
