import type { Client } from './client.ts';
import {
  RunsChangedDocument,
  type RunsChangedSubscription,
  type RunsChangedSubscriptionVariables,
  RunsDocument,
} from './generated/graphql.ts';
import type { StreamHooks } from './stream.ts';
import { poll, watch, type WatchOptions } from './watch-options.ts';

/** A changed run: in the list that was asked for, or out of it (`matches`). Ignore what has a smaller `version` than what you have. */
export type RunChange = RunsChangedSubscription['runsChanged'];

export interface WatchChangesOptions extends WatchOptions {
  /** Which runs; all that the caller may see if absent. */
  filter?: RunsChangedSubscriptionVariables['filter'];
  /** Go on after this change's `cursor`; what changes from now on if absent. */
  after?: string | null;
}

/** Runs that the polling fallback compares. */
const polledRuns = 50;

/**
 * The agency's runs as they change, the newest state of each, without end: what a list of runs on a screen needs. No newest state is
 * lost over broken connections; states in between may be. While polling, the newest 50 runs are compared.
 *
 * @throws FluxError CURSOR_EXPIRED, UNAUTHENTICATED …: what no other try can change
 */
export function watchChanges(
  client: Client,
  options: WatchChangesOptions = {},
): AsyncGenerator<RunChange, void, undefined> {
  const { filter = null } = options;
  const seen = new Map<string, bigint>();
  return watch<RunChange>(
    client,
    {
      after: options.after ?? null,
      async *open(transport, after, hooks) {
        const changes =
          transport === 'polling'
            ? pollChanges(client, filter, after, hooks)
            : client.open(transport, RunsChangedDocument, { filter, after }, 'runsChanged', hooks);
        for await (const change of changes) {
          const version = BigInt(change.run.version);
          if (version <= (seen.get(change.run.id) ?? -1n) && transport === 'polling') continue;
          seen.set(change.run.id, version);
          yield change;
        }
      },
      cursorOf: ({ cursor }) => (cursor === '' ? null : cursor),
      isLast: () => false,
    },
    options,
  );
}

/** The feed has no page to ask for, so the list is: its runs carry no cursor, and the feed goes on where it was. */
function pollChanges(
  client: Client,
  filter: WatchChangesOptions['filter'],
  after: string | null,
  hooks: StreamHooks,
): AsyncIterable<RunChange> {
  let known: Map<string, string> | undefined;
  return poll<RunChange>(client, hooks, async () => {
    hooks.used(await client.settings.token.current());
    const { edges } = await client.query(RunsDocument, { filter: filter ?? null, first: polledRuns }, 'runs', {
      signal: hooks.signal,
    });
    const before = known;
    known = new Map(edges.map(({ node }) => [node.id, node.version]));
    // Without a place to go on from, what is there already is no news.
    const isNews = (id: string, version: string): boolean => (before ? before.get(id) !== version : after !== null);
    const items = edges
      .filter(({ node }) => isNews(node.id, node.version))
      .map(({ node }): RunChange => ({ cursor: '', matches: true, run: node }));
    return { items: items.reverse(), more: false };
  });
}
