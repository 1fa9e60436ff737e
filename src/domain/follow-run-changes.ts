import type { RunFilter } from '../db/runs.ts';
import type { BatchStream } from '../events/batches.ts';
import { type FeedPage, type FeedPageRequest, readFeedPage } from '../events/feed-page.ts';
import { followFeed } from '../events/feed.ts';
import type { FollowDeps } from '../events/follow.ts';
import { type RunChange, runFeed } from './run-feed.ts';

export type { RunChange } from './run-feed.ts';

export interface RunChangesRequest {
  sealed: () => string;
  filter: RunFilter;
  /** null begins with what changes from now on. */
  afterSeq: bigint | null;
  signal: AbortSignal;
  /** Equal for those who see the same runs: they share the watch. */
  viewer: string;
}

/**
 * Every run of the agency whenever its state has changed, at its newest state, as long as somebody reads; never ends by itself.
 * What changed several times meanwhile comes once. Nothing that changed after the place is missed, however long ago.
 */
export function followRunChanges(deps: FollowDeps, { filter, ...request }: RunChangesRequest): BatchStream<RunChange> {
  return followFeed(deps, runFeed(filter), { ...request, selection: JSON.stringify(filter) });
}

/** A page of the same, with the same places. */
export function readRunChanges(
  deps: Pick<FollowDeps, 'pool'>,
  { filter, ...request }: FeedPageRequest & Pick<RunChangesRequest, 'filter'>,
): Promise<FeedPage<RunChange>> {
  return readFeedPage(deps, runFeed(filter), request);
}
