import * as control from '../resolvers/run-control.ts';
import { idempotencyKeyDescription, mutationErrors, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';

const ReplayRef = builder.objectRef<control.Replay>('Replay').implement({
  description: 'Whether a run’s history and its state agree.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    runId: t.exposeID('runId', { nullable: false, description: 'The run’s UUID.' }),
    matches: t.exposeBoolean('matches', { nullable: false, description: 'Whether the two hashes are equal.' }),
    eventCount: t.exposeInt('eventCount', {
      nullable: false,
      description: 'Events that were read, from the first on.',
    }),
    derivedHash: t.exposeString('derivedHash', {
      description: 'SHA-256 of the state that the events give; null when they give none.',
    }),
    storedHash: t.exposeString('storedHash', { nullable: false, description: 'SHA-256 of the state in the tables.' }),
    differences: t.exposeStringList('differences', { nullable: false, description: 'Where they differ, in words.' }),
  }),
});

const ReplayRunInput = builder.inputType('ReplayRunInput', {
  description: 'Which run is to be checked against its history.',
  fields: (t) => ({
    runId: t.id({ required: true, description: 'The run, by global id or UUID.' }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('replayRun', (t) =>
  t.field({
    type: ReplayRef,
    nullable: false,
    auth: { scopes: [['run:write']] },
    description:
      'Derives a run’s state from its events alone and compares it with the one in the tables, by hash. Changes nothing but the audit log.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'ReplayRunResult', description: 'What the comparison found, or why there is none.' },
    },
    args: { input: t.arg({ type: ReplayRunInput, required: true, description: 'Which run.' }) },
    resolve: (_root, { input }, ctx) => control.replayRun(ctx, input),
  }),
);
