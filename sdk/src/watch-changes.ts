import type { Client } from './client.ts';
import {
  RunChangesDocument,
  RunsChangedDocument,
  type RunsChangedSubscription,
  type RunsChangedSubscriptionVariables,
} from './generated/graphql.ts';
import { executeOnce } from './http.ts';
import { watchFeed } from './watch-feed.ts';
import type { WatchOptions } from './watch-options.ts';

/** A changed run: in the list that was asked for, or out of it (`matches`). Ignore what has a smaller `version` than what you have. */
export type RunChange = RunsChangedSubscription['runsChanged'];

export interface WatchChangesOptions extends WatchOptions {
  /** Which runs; all that the caller may see if absent. */
  filter?: RunsChangedSubscriptionVariables['filter'];
  /** Go on after this change's `cursor`; what changes from now on if absent: before `live` is told the first time. */
  after?: string | null;
}

/**
 * The agency's runs as they change, the newest state of each, without end: what a list of runs on a screen needs. No newest state is
 * lost over broken connections, by whatever way they come; states in between may be.
 *
 * @throws FluxError UNAUTHENTICATED, INVALID_INPUT …: what no other try can change
 */
export function watchChanges(
  client: Client,
  options: WatchChangesOptions = {},
): AsyncGenerator<RunChange, void, undefined> {
  const { filter = null } = options;
  return watchFeed<RunChange>(
    client,
    {
      open: (way, after, hooks) => client.open(way, RunsChangedDocument, { filter, after }, 'runsChanged', hooks),
      page: (after, { signal }) =>
        client.query(RunChangesDocument, { filter, after, first: 100 }, 'runChanges', { signal }),
      end: (hooks) => executeOnce(client.settings, RunChangesDocument, { filter, first: 1 }, 'runChanges', hooks),
    },
    options,
  );
}
