import * as control from '../resolvers/run-control.ts';
import { idempotencyKeyDescription, mutationErrors } from './arguments.ts';
import { builder } from './builder.ts';
import { RunRef } from './run-ref.ts';

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
