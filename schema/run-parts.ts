import type { LoadOfRun, Run, RunPartition, StepTotals } from '../resolvers/run.ts';
import type { Reconciliation } from '../src/domain/reconciliation.ts';
import { builder } from './builder.ts';
import { PartitionKindRef, PartitionStatusRef, RunStageRef } from './vocabulary.ts';

export const RunFailureRef = builder.objectRef<NonNullable<Run['failure']>>('RunFailure').implement({
  description: 'Why a run failed.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    class: t.exposeString('class', { nullable: false, description: 'What kind of failure; see ErrorClass.' }),
    code: t.exposeString('code', { nullable: false, description: 'Stable code; docs/errors.md lists all.' }),
    message: t.exposeString('message', {
      nullable: false,
      description: 'What was expected, what was found, what to do.',
    }),
  }),
});

export const RunPartitionRef = builder.objectRef<RunPartition>('RunPartition').implement({
  description: 'The part of a run that one worker holds under a lease.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    partitionNo: t.exposeInt('partitionNo', { nullable: false, description: 'From 0, which is the plan.' }),
    kind: t.expose('kind', { type: PartitionKindRef, nullable: false, description: 'What it is for.' }),
    stage: t.expose('stage', { type: RunStageRef, nullable: false, description: 'The stage that it does.' }),
    status: t.expose('status', { type: PartitionStatusRef, nullable: false, description: 'Where it stands.' }),
    epoch: t.exposeInt('epoch', { nullable: false, description: 'Rises at each taking and fences every write.' }),
    takings: t.exposeInt('takings', { nullable: false, description: 'Takings since the last committed batch.' }),
    recordsRead: t.expose('recordsRead', { type: 'BigInt', nullable: false, description: 'Records read.' }),
    recordsWritten: t.expose('recordsWritten', { type: 'BigInt', nullable: false, description: 'Records written.' }),
    recordsRejected: t.expose('recordsRejected', {
      type: 'BigInt',
      nullable: false,
      description: 'Records refused by the contract.',
    }),
    recordsFiltered: t.expose('recordsFiltered', {
      type: 'BigInt',
      nullable: false,
      description: 'Records left out by a declared rule.',
    }),
    bytesRead: t.expose('bytesRead', {
      type: 'BigInt',
      nullable: false,
      description: 'Bytes of the source behind them.',
    }),
    worker: t.exposeString('worker', { description: 'Who holds it now.' }),
    leaseExpiresAt: t.expose('leaseExpiresAt', {
      type: 'DateTime',
      description: 'When the holder loses it without a heartbeat.',
    }),
    startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When it was first taken.' }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', description: 'When it ended.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', nullable: false, description: 'When it last changed.' }),
  }),
});

export const LoadRef = builder.objectRef<LoadOfRun>('Load').implement({
  description: 'One run’s records in a dataset: invisible while OPEN, visible all at once when PUBLISHED.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    dataset: t.exposeString('dataset', { nullable: false, description: 'The dataset.' }),
    loadNo: t.expose('loadNo', {
      type: 'BigInt',
      nullable: false,
      description: 'Its number in the dataset, as `_flux_load` has it.',
    }),
    mode: t.exposeString('mode', { nullable: false, description: '`append`, `replace` or `merge`.' }),
    status: t.exposeString('status', { nullable: false, description: '`OPEN`, `PUBLISHED` or `SUPERSEDED`.' }),
    recordCount: t.expose('recordCount', {
      type: 'BigInt',
      description: 'By the destination’s own count, once published.',
    }),
    replacedCount: t.expose('replacedCount', {
      type: 'BigInt',
      nullable: false,
      description: 'Of these, how many merges of later loads have replaced.',
    }),
    runId: t.exposeString('runId', { nullable: false, description: 'The UUID of the run.' }),
    openedAt: t.expose('openedAt', { type: 'DateTime', nullable: false, description: 'When it was opened.' }),
    publishedAt: t.expose('publishedAt', { type: 'DateTime', description: 'When it became visible.' }),
  }),
});

const StepCountRef = builder.objectRef<StepTotals>('StepCount').implement({
  description: 'Records in and out of one step, summed over the run’s partitions.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    position: t.exposeInt('position', {
      nullable: false,
      description: 'Its place in the order in which records pass the steps.',
    }),
    stage: t.exposeString('stage', { nullable: false, description: 'INGEST, TRANSFORM or EXPORT.' }),
    step: t.exposeString('step', { nullable: false, description: 'Its name.' }),
    kind: t.exposeString('kind', {
      nullable: false,
      description: 'What it does to the number of records: read, validate, row, filter, write.',
    }),
    recordsIn: t.expose('recordsIn', { type: 'BigInt', nullable: false, description: 'Taken in.' }),
    recordsOut: t.expose('recordsOut', { type: 'BigInt', nullable: false, description: 'Let out.' }),
    recordsRejected: t.expose('recordsRejected', {
      type: 'BigInt',
      nullable: false,
      description: 'Refused by the contract.',
    }),
    recordsFiltered: t.expose('recordsFiltered', {
      type: 'BigInt',
      nullable: false,
      description: 'Left out by a declared rule.',
    }),
  }),
});

export const ReconciliationRef = builder.objectRef<Reconciliation>('Reconciliation').implement({
  description:
    'Whether a run adds up: in = out + rejected + filtered at every step, and the destination counts what was written.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    balanced: t.boolean({
      nullable: false,
      description: 'Whether all counts add up so far.',
      resolve: (reconciliation) => reconciliation.differences.length === 0,
    }),
    differences: t.exposeStringList('differences', { nullable: false, description: 'What does not add up, in words.' }),
    recordsRead: t.expose('recordsRead', {
      type: 'BigInt',
      nullable: false,
      description: 'What the first step took in.',
    }),
    recordsWritten: t.expose('recordsWritten', {
      type: 'BigInt',
      nullable: false,
      description: 'What the last step let out.',
    }),
    recordsRejected: t.expose('recordsRejected', { type: 'BigInt', nullable: false, description: 'Of all steps.' }),
    recordsFiltered: t.expose('recordsFiltered', { type: 'BigInt', nullable: false, description: 'Of all steps.' }),
    destinationCount: t.expose('destinationCount', {
      type: 'BigInt',
      description: 'The destination’s own count, once the load is published.',
    }),
    steps: t.expose('steps', {
      type: [StepCountRef],
      nullable: false,
      description: 'Each step, in the order in which records pass them.',
    }),
  }),
});
