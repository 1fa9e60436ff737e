import * as bulk from '../resolvers/bulk-operation.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';
import { RunFilterInput } from './run.ts';
import { RunRef } from './run-ref.ts';

const BulkActionRef = builder.enumType('BulkAction', {
  description: 'What is done to each run.',
  values: {
    CANCEL: { description: 'It is asked to stop.' },
    RESUME: { description: 'Its next attempt begins.' },
  } satisfies Record<bulk.BulkAction, { description: string }>,
});

const BulkStatusRef = builder.enumType('BulkStatus', {
  description: 'Where a bulk operation stands.',
  values: {
    RUNNING: { description: 'Runs are pending.' },
    COMPLETED: { description: 'Every run had its turn.' },
    ABORTED: { description: 'Stopped on request; what was done stays done.' },
  } satisfies Record<bulk.BulkStatus, { description: string }>,
});

const BulkItemStatusRef = builder.enumType('BulkItemStatus', {
  description: 'What became of one run.',
  values: {
    PENDING: { description: 'Its turn has not come.' },
    DONE: { description: 'Its cancel was requested, or its next attempt has begun.' },
    SKIPPED: { description: 'Its state had changed since, so there was nothing to do.' },
    FAILED: { description: 'It was refused; `errorCode` and `errorMessage` say why.' },
  } satisfies Record<bulk.BulkItemStatus, { description: string }>,
});

const BulkItemRef = builder.objectRef<bulk.BulkItem>('BulkItem').implement({
  description: 'One run of a bulk operation.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    position: t.exposeInt('position', { nullable: false, description: 'Its turn, from 1.' }),
    runId: t.exposeID('runId', { nullable: false, description: 'The run’s UUID.' }),
    run: t.field({
      type: RunRef,
      description: 'The run as it is now.',
      resolve: (item, _args, ctx) => bulk.runOfItem(ctx, item),
    }),
    status: t.expose('status', { type: BulkItemStatusRef, nullable: false, description: 'What became of it.' }),
    errorCode: t.exposeString('errorCode', { description: 'Why it was skipped or refused; docs/errors.md lists all.' }),
    errorMessage: t.exposeString('errorMessage', { description: 'The same in words.' }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', description: 'When it had its turn.' }),
  }),
});

const ItemPageRef = builder.connectionObject(
  { type: BulkItemRef, name: 'BulkItemConnection' },
  { name: 'BulkItemEdge' },
);

const BulkOperationRef = builder.objectRef<bulk.BulkOperation>('BulkOperation');

builder.node(BulkOperationRef, {
  description: 'A cancel or resume of the runs that a filter meant when it was asked for.',
  auth: { scopes: [['run:read']] },
  id: { resolve: ({ id }) => id },
  loadOne: (id, ctx) => bulk.bulkOperation(ctx, id),
  fields: (t) => ({
    operationId: t.exposeID('id', { nullable: false, description: 'Its UUID, as the audit log shows it.' }),
    action: t.expose('action', { type: BulkActionRef, nullable: false, description: 'What is done to each run.' }),
    status: t.expose('status', { type: BulkStatusRef, nullable: false, description: 'Where it stands.' }),
    filter: t.field({
      type: 'JSON',
      nullable: false,
      description: 'The conditions that were given.',
      resolve: ({ filter }) => filter,
    }),
    reason: t.exposeString('reason', { nullable: false, description: 'Why, in that person’s words.' }),
    requestedBy: t.exposeString('requestedBy', { nullable: false, description: 'In whose name it is done.' }),
    total: t.exposeInt('total', { nullable: false, description: 'Runs that it means, frozen when it was asked for.' }),
    pending: t.exposeInt('pending', { nullable: false, description: 'Runs whose turn has not come.' }),
    done: t.exposeInt('done', { nullable: false, description: 'Runs that it was done to.' }),
    skipped: t.exposeInt('skipped', { nullable: false, description: 'Runs whose state had changed since.' }),
    failed: t.exposeInt('failed', { nullable: false, description: 'Runs for which it was refused.' }),
    items: t.field({
      type: ItemPageRef,
      nullable: false,
      description: 'Its runs that the caller is cleared for, in the order of their turns.',
      args: {
        status: t.arg({ type: BulkItemStatusRef, description: 'Only those that stand so.' }),
        ...pageArgs(t.arg),
      },
      resolve: (operation, args, ctx) => bulk.itemsOf(ctx, operation, args),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was asked for.' }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', description: 'When it ended.' }),
  }),
});

const OperationPageRef = builder.connectionObject(
  { type: BulkOperationRef, name: 'BulkOperationConnection' },
  { name: 'BulkOperationEdge' },
);

builder.queryFields((t) => ({
  bulkOperation: t.field({
    type: BulkOperationRef,
    auth: { scopes: [['run:read']] },
    description: 'A bulk operation; null when there is none for the caller.',
    args: { id: t.arg.id({ required: true, description: 'Global id or UUID.' }) },
    resolve: (_root, { id }, ctx) => bulk.bulkOperation(ctx, id),
  }),
  bulkOperations: t.field({
    type: OperationPageRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description: 'The agency’s bulk operations, newest first.',
    args: pageArgs(t.arg),
    resolve: (_root, args, ctx) => bulk.bulkOperations(ctx, args),
  }),
}));

const filterDescription = 'Which runs; at least one condition. At most 10,000 runs.';

const CancelRunsInput = builder.inputType('CancelRunsInput', {
  description: 'Which runs are to stop, and why.',
  fields: (t) => ({
    filter: t.field({ type: RunFilterInput, required: true, description: filterDescription }),
    graceSeconds: t.int({
      description: 'How long the workers of each run have to acknowledge: 1 to 3600; 30 if absent.',
    }),
    reason: t.string({ required: true, description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

const ResumeRunsInput = builder.inputType('ResumeRunsInput', {
  description: 'Which runs are to go on, and why.',
  fields: (t) => ({
    filter: t.field({ type: RunFilterInput, required: true, description: filterDescription }),
    reason: t.string({ required: true, description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

const AbortBulkOperationInput = builder.inputType('AbortBulkOperationInput', {
  description: 'Which bulk operation is to stop, and why.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'Global id or UUID.' }),
    reason: t.string({ required: true, description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationFields((t) => ({
  cancelRuns: t.field({
    type: BulkOperationRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Freezes the runs that a filter means and that are PENDING or IN_PROGRESS now, and asks them to stop one after the other. What begins later is left alone.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'CancelRunsResult', description: 'The operation, with its progress, or why not.' },
    },
    args: { input: t.arg({ type: CancelRunsInput, required: true, description: 'Which runs, and why.' }) },
    resolve: (_root, { input }, ctx) => bulk.bulkRuns(ctx, 'CANCEL', input),
  }),
  resumeRuns: t.field({
    type: BulkOperationRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Freezes the runs that a filter means and that are FAILED or CANCELLED now, and begins the next attempt of one after the other.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'ResumeRunsResult', description: 'The operation, with its progress, or why not.' },
    },
    args: { input: t.arg({ type: ResumeRunsInput, required: true, description: 'Which runs, and why.' }) },
    resolve: (_root, { input }, ctx) => bulk.bulkRuns(ctx, 'RESUME', input),
  }),
  abortBulkOperation: t.field({
    type: BulkOperationRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Stops a bulk operation after the run in hand. What was done stays done. Asking again changes nothing.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'AbortBulkOperationResult', description: 'The operation, ABORTED, or why not.' },
    },
    args: { input: t.arg({ type: AbortBulkOperationInput, required: true, description: 'Which, and why.' }) },
    resolve: (_root, { input }, ctx) => bulk.abortBulkOperation(ctx, input),
  }),
}));
