import * as runChanges from '../resolvers/run-change.ts';
import { builder } from './builder.ts';
import { RunFilterInput } from './run.ts';
import { RunRef } from './run-ref.ts';

const RunChangeRef = builder.objectRef<runChanges.RunChange>('RunChange').implement({
  description: 'A run whose state has changed, as it is now.',
  auth: { scopes: [['run:read']] },
  fields: (t) => ({
    run: t.field({
      type: RunRef,
      nullable: false,
      description: 'The run. Ignore it when its `version` is older than what you have.',
      resolve: ({ run }) => run,
    }),
    matches: t.exposeBoolean('matches', {
      nullable: false,
      description: 'Whether its state is one of `filter.status`; false means that it has left the list.',
    }),
    cursor: t.string({
      nullable: false,
      description: 'Where `runsChanged` goes on after this change.',
      resolve: (change, _args, ctx) => runChanges.cursorOf(ctx, change),
    }),
  }),
});

builder.subscriptionField('runsChanged', (t) =>
  t.field({
    type: RunChangeRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description:
      'The agency’s feed: every run that is new or whose state has changed, at its newest state; what changed several times meanwhile comes once. To keep a list, subscribe first, then read `runs`, and keep what has the higher `version`. Progress between states is `runProgress`.',
    args: {
      filter: t.arg({
        type: RunFilterInput,
        description: 'Which runs; a change of state out of `status` is told as well (`matches`).',
      }),
      after: t.arg.string({
        description: 'The last cursor that the client has: also what changed since comes. From now on if absent.',
      }),
    },
    subscribe: (_root, args, ctx) => runChanges.runsChanged(ctx, args),
    resolve: (item) => runChanges.itemOf(item),
  }),
);
