import { itemOf } from '../resolvers/stream.ts';
import * as runProgress from '../resolvers/run-progress.ts';
import type { estimateSources, RunProgress } from '../src/domain/progress.ts';
import { builder } from './builder.ts';
import { RunStageRef, RunStatusRef } from './vocabulary.ts';

const EstimateSourceRef = builder.enumType('EstimateSource', {
  description: 'How `fraction` is known. A percentage is never invented.',
  values: {
    EXACT: { description: 'The source’s records have been counted.' },
    SOURCE: { description: 'By the source’s size in bytes.' },
    NONE: { description: 'Not known.' },
  } satisfies Record<(typeof estimateSources)[number], { description: string }>,
});

export const RunProgressRef = builder.objectRef<RunProgress>('RunProgress').implement({
  description: 'How far a run is, summed over its partitions.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    runId: t.exposeID('runId', { nullable: false, description: 'The run’s UUID.' }),
    status: t.expose('status', { type: RunStatusRef, nullable: false, description: 'Where the run stands.' }),
    stage: t.expose('stage', {
      type: RunStageRef,
      nullable: false,
      description: 'What it is at; FULL while records stream through all stages.',
    }),
    step: t.exposeString('step', { description: '`plan`, `batches` or `publish`; null once it is over.' }),
    recordsTotal: t.expose('recordsTotal', {
      type: 'BigInt',
      description: 'Records of the source, once they are counted.',
    }),
    recordsRead: t.expose('recordsRead', { type: 'BigInt', nullable: false, description: 'Read and committed.' }),
    recordsWritten: t.expose('recordsWritten', {
      type: 'BigInt',
      nullable: false,
      description: 'Written to the load.',
    }),
    recordsRejected: t.expose('recordsRejected', {
      type: 'BigInt',
      nullable: false,
      description: 'Refused by the contract, kept with reasons.',
    }),
    recordsFiltered: t.expose('recordsFiltered', {
      type: 'BigInt',
      nullable: false,
      description: 'Left out by a declared rule.',
    }),
    bytesRead: t.expose('bytesRead', {
      type: 'BigInt',
      nullable: false,
      description: 'Bytes of the source behind these records.',
    }),
    bytesTotal: t.expose('bytesTotal', { type: 'BigInt', description: 'Bytes of the pinned source.' }),
    fraction: t.exposeFloat('fraction', { description: '0 to 1.' }),
    estimateSource: t.expose('estimateSource', {
      type: EstimateSourceRef,
      nullable: false,
      description: 'How `fraction` is known.',
    }),
    ratePerSecond: t.exposeFloat('ratePerSecond', {
      description: 'Records read a second: over the last ten seconds in the subscription, on average otherwise.',
    }),
    etaAt: t.expose('etaAt', { type: 'DateTime', description: 'When it would be done at this rate.' }),
    updatedAt: t.expose('updatedAt', {
      type: 'DateTime',
      nullable: false,
      description: 'When the numbers last changed.',
    }),
  }),
});

builder.subscriptionField('runProgress', (t) =>
  t.field({
    type: RunProgressRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description:
      'The newest snapshot whenever something changed, the first at once; snapshots in between are dropped. Completes with the run.',
    args: {
      runId: t.arg.id({ required: true, description: 'The run, by global id or UUID.' }),
      maxPerSecond: t.arg.int({ defaultValue: 4, description: 'Most snapshots a second, 1 to 20.' }),
    },
    subscribe: (_root, args, ctx) => runProgress.runProgress(ctx, args),
    resolve: (item) => itemOf(item),
  }),
);
