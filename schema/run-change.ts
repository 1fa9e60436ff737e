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
      description: 'Where `runsChanged` and `runChanges` go on after this change.',
      resolve: (change, _args, ctx) => runChanges.cursorOf(ctx, change),
    }),
  }),
});

const RunChangePageRef = builder.connectionObject(
  { type: RunChangeRef, name: 'RunChangeConnection' },
  { name: 'RunChangeEdge' },
);

const filterDescription = 'Which runs; a change of state out of `status` is told as well (`matches`).';

builder.queryField('runChanges', (t) =>
  t.field({
    type: RunChangePageRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description:
      'A page of the agency’s feed, in its order, with the cursors of `runsChanged`. `pageInfo.endCursor` is always there, and whatever changes from then on comes after it. Without `after` the page is empty and says only that: where the feed stands now.',
    args: {
      filter: t.arg({ type: RunFilterInput, description: filterDescription }),
      first: t.arg.int({ description: 'How many, 1 to 200; 50 if absent.' }),
      after: t.arg.string({
        description: 'What changed after this cursor; no changes, only the end cursor, if absent.',
      }),
    },
    resolve: (_root, args, ctx) => runChanges.runChanges(ctx, args),
  }),
);

builder.subscriptionField('runsChanged', (t) =>
  t.field({
    type: RunChangeRef,
    nullable: false,
    auth: { scopes: [['run:read']] },
    description:
      'The agency’s feed: every run that is new or whose state has changed, at its newest state; what changed several times meanwhile comes once. To keep a list, ask `runChanges` where the feed stands, then read `runs`, then subscribe after that place, and keep what has the higher `version`. Progress between states is `runProgress`.',
    args: {
      filter: t.arg({ type: RunFilterInput, description: filterDescription }),
      after: t.arg.string({
        description:
          'The last cursor that the client has: also what changed since comes. If absent, from the first look on, a moment after the subscription was taken.',
      }),
    },
    subscribe: (_root, args, ctx) => runChanges.runsChanged(ctx, args),
    resolve: (item) => runChanges.itemOf(item),
  }),
);
