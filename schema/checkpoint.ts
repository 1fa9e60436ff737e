import * as checkpoints from '../resolvers/checkpoint.ts';
import { builder } from './builder.ts';
import { RunRef } from './run-ref.ts';

const CheckpointStatusRef = builder.enumType('CheckpointStatus', {
  description: 'Where the partition stood when the checkpoint was saved.',
  values: {
    PENDING: { description: 'Nothing done yet.' },
    IN_PROGRESS: { description: 'More batches follow.' },
    COMPLETED: { description: 'The partition’s last.' },
    FAILED: { description: 'The partition failed after it.' },
  },
});

const IntegrityRef = builder.enumType('Integrity', {
  description: 'What recomputing the SHA-256, the place and the chain says, at the moment of reading.',
  values: {
    VERIFIED: { description: 'The bytes are those that were saved.' },
    CORRUPTED: { description: 'They are not, or the link to the version before is broken.' },
    UNVERIFIED: { description: 'Not recomputed.' },
  },
});

const CheckpointCountsRef = builder.objectRef<checkpoints.CheckpointCounts>('CheckpointCounts').implement({
  description: 'A partition’s counts up to a checkpoint.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    read: t.expose('read', { type: 'BigInt', nullable: false, description: 'Records read.' }),
    written: t.expose('written', { type: 'BigInt', nullable: false, description: 'Records written.' }),
    rejected: t.expose('rejected', {
      type: 'BigInt',
      nullable: false,
      description: 'Records refused by the contract.',
    }),
    filtered: t.expose('filtered', {
      type: 'BigInt',
      nullable: false,
      description: 'Records left out by a declared rule.',
    }),
    bytes: t.expose('bytes', { type: 'BigInt', nullable: false, description: 'Bytes of the source.' }),
  }),
});

export const CheckpointRef = builder.objectRef<checkpoints.StoredCheckpoint>('Checkpoint');

builder.node(CheckpointRef, {
  description: 'A durable position of a partition with its counts, chained by SHA-256.',
  auth: { scopes: [['run:read']] },
  id: { resolve: (checkpoint) => checkpoint.id },
  loadOne: (id, ctx) => checkpoints.checkpointById(ctx, id),
  fields: (t) => ({
    run: t.field({
      type: RunRef,
      description: 'The run that it belongs to.',
      resolve: (checkpoint, _args, ctx) => checkpoints.runOf(ctx, checkpoint),
    }),
    partition: t.exposeInt('partitionNo', { nullable: false, description: 'The partition’s number.' }),
    version: t.exposeInt('version', { nullable: false, description: 'From 1, one a batch.' }),
    epoch: t.exposeInt('epoch', { nullable: false, description: 'The taking of the partition that saved it.' }),
    status: t.expose('status', {
      type: CheckpointStatusRef,
      nullable: false,
      description: 'Where the partition stood.',
    }),
    step: t.exposeString('step', { nullable: false, description: 'The step that it was saved after.' }),
    cursor: t.string({
      auth: { scopes: [['data:read']] },
      description: 'The position in the pinned source; null where the bytes are damaged.',
      resolve: (checkpoint) => checkpoints.cursorOf(checkpoint),
    }),
    counts: t.field({
      type: CheckpointCountsRef,
      description: 'The partition’s counts so far; null where the bytes are damaged.',
      resolve: (checkpoint) => checkpoints.countsOf(checkpoint),
    }),
    hash: t.string({
      nullable: false,
      description: 'SHA-256 of the canonical bytes, in hex.',
      resolve: (checkpoint) => checkpoint.hash.toString('hex'),
    }),
    previousHash: t.string({
      description: 'That of the version before; null for the first.',
      resolve: (checkpoint) => checkpoint.previousHash?.toString('hex') ?? null,
    }),
    integrity: t.expose('integrity', {
      type: IntegrityRef,
      nullable: false,
      description: 'Whether the stored bytes are those that were saved.',
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was saved.' }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime', description: 'When it may be removed; null: kept.' }),
  }),
});

export const CheckpointPageRef = builder.connectionObject(
  { type: CheckpointRef, name: 'CheckpointConnection' },
  { name: 'CheckpointEdge' },
);

const CheckpointProblemRef = builder.enumType('CheckpointProblem', {
  description: 'What is wrong with a checkpoint.',
  values: {
    DIGEST: { description: 'Its bytes do not have its SHA-256.' },
    PLACE: { description: 'Its bytes are those of another agency, run, partition, version or epoch.' },
    CHAIN: { description: 'It does not follow the version before it, or that one is gone.' },
    HISTORY: { description: 'The run’s history did not save it, or saved another one in its place.' },
    LAST_EVENT: { description: 'The event that it names as its last is not the one of the run’s history.' },
    LOST: { description: 'The run’s history saved it, and it is not stored.' },
  } satisfies Record<checkpoints.CheckpointProblem, { description: string }>,
});

const CheckpointFaultRef = builder.objectRef<checkpoints.CheckpointFault>('CheckpointFault').implement({
  description: 'A checkpoint that does not verify.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    partitionNo: t.exposeInt('partitionNo', { nullable: false, description: 'The partition’s number.' }),
    version: t.exposeInt('version', { nullable: false, description: 'From 1, one a batch.' }),
    problem: t.expose('problem', { type: CheckpointProblemRef, nullable: false, description: 'What is wrong.' }),
  }),
});

export const CheckpointVerificationRef = builder
  .objectRef<checkpoints.CheckpointVerification>('CheckpointVerification')
  .implement({
    description: 'What recomputing all checkpoints of a run says.',
    auth: { scopes: [['run:read']] },
    fields: (t) => ({
      verified: t.boolean({
        nullable: false,
        description: 'Whether every one is as it was saved.',
        resolve: ({ faults }) => faults.length === 0,
      }),
      checkpointCount: t.exposeInt('checkpointCount', { nullable: false, description: 'Those that are stored.' }),
      faults: t.expose('faults', {
        type: [CheckpointFaultRef],
        nullable: false,
        description: 'Those that do not verify, by partition and version; at most 1000.',
      }),
    }),
  });
