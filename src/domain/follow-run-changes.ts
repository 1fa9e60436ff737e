import { listRunChanges, numberRunChanges } from '../db/run-feed.ts';
import type { Run, RunFilter } from '../db/runs.ts';
import type { BatchStream } from '../events/batches.ts';
import { followFeed } from '../events/feed.ts';
import type { FollowDeps } from '../events/follow.ts';
import { anyRun } from '../events/listen.ts';

/** A run at its newest change. */
export interface RunChange {
  run: Run;
  /** Its place in the agency's feed; whoever has it goes on after it. */
  seq: bigint;
  /** Whether its state is one of those asked for. */
  matches: boolean;
}

export interface RunChangesRequest {
  sealed: () => string;
  filter: RunFilter;
  /** null begins with what changes from now on. */
  afterSeq: bigint | null;
  signal: AbortSignal;
  /** Equal for those who see the same runs: they share the watch. */
  viewer: string;
}

/** Hints name any agency's runs: they are taken together, so that a busy neighbour costs a few reads a second. */
const quietMs = 150;

/**
 * Every run of the agency whenever its state has changed, at its newest state, as long as somebody reads; never ends by itself.
 * What changed several times meanwhile comes once. Nothing that changed after the place is missed, however long ago.
 */
export function followRunChanges(deps: FollowDeps, { filter, ...request }: RunChangesRequest): BatchStream<RunChange> {
  const { statuses, ...conditions } = filter;
  return followFeed<RunChange>(
    deps,
    {
      hint: anyRun,
      quietMs,
      findHead: numberRunChanges,
      async readPage(tx, page) {
        const changes = await listRunChanges(tx, { filter: conditions, ...page });
        return changes.map(({ feedSeq: seq, ...run }) => ({
          run,
          seq,
          matches: !statuses || statuses.includes(run.status),
        }));
      },
      placeOf: ({ seq }) => seq,
    },
    { ...request, selection: JSON.stringify(filter) },
  );
}
