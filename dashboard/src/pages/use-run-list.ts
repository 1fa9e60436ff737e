import type { RunChange, RunsQuery, RunsQueryVariables } from '@flux-etl/sdk';
import { useCallback, useEffect, useRef, useState } from 'react';

import { useSession } from '../use-session.ts';

export type ListedRun = RunsQuery['runs']['edges'][number]['node'];
export type RunFilter = NonNullable<RunsQueryVariables['filter']>;

export interface RunList {
  runs: readonly ListedRun[];
  /** The first page has not come yet. */
  loading: boolean;
  error: unknown;
  hasMore: boolean;
  loadMore: () => void;
}

const pageSize = 50;
/** Changes are put on the screen together: a hundred runs that move at once must not draw the list a hundred times. */
const drawEveryMs = 250;

/** Runs that fit a filter, the newest first, as they change. After a broken connection the first page is read again. */
export function useRunList(filter: RunFilter): RunList {
  const { flux } = useSession();
  const key = JSON.stringify(filter);
  const [runs, setRuns] = useState<readonly ListedRun[]>([]);
  const [loading, setLoading] = useState(true);
  const [error, setError] = useState<unknown>(null);
  const [next, setNext] = useState<string | null>(null);
  const generation = useRef(0);

  useEffect(() => {
    generation.current += 1;
    const stop = new AbortController();
    const wanted = JSON.parse(key) as RunFilter;
    let changed = new Map<string, RunChange>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    setLoading(true);
    setRuns([]);
    setNext(null);
    setError(null);

    const draw = (): void => {
      timer = undefined;
      const batch = changed;
      changed = new Map();
      setRuns((before) => merge(before, batch));
    };
    const readFirst = async (): Promise<void> => {
      const { edges, pageInfo } = await flux.api.runs({ filter: wanted, first: pageSize }, { signal: stop.signal });
      const read = new Map(
        edges.map(({ node, cursor }): [string, RunChange] => [node.id, { cursor, matches: true, run: node }]),
      );
      setRuns((before) => merge(before, read));
      setNext((before) => before ?? (pageInfo.hasNextPage ? (pageInfo.endCursor ?? null) : null));
      setLoading(false);
    };
    const follow = async (): Promise<void> => {
      // Read before the feed is open as well, so that a list is there where no stream gets through.
      await readFirst();
      const changes = flux.runs.changes({
        filter: wanted,
        signal: stop.signal,
        // What changed between the reading and the feed's opening is in neither.
        onConnection: ({ status }) => status === 'live' && void readFirst().catch(report),
      });
      for await (const change of changes) {
        changed.set(change.run.id, change);
        timer ??= setTimeout(draw, drawEveryMs);
      }
    };
    const report = (cause: unknown): void => {
      if (stop.signal.aborted) return;
      setError(cause);
      setLoading(false);
    };
    void follow().catch(report);
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [flux, key]);

  const loadMore = useCallback(() => {
    const asked = generation.current;
    const filterNow = JSON.parse(key) as RunFilter;
    void flux.api.runs({ filter: filterNow, first: pageSize, after: next }).then(({ edges, pageInfo }) => {
      if (asked !== generation.current) return;
      const read = new Map(
        edges.map(({ node, cursor }): [string, RunChange] => [node.id, { cursor, matches: true, run: node }]),
      );
      setRuns((before) => merge(before, read));
      setNext(pageInfo.hasNextPage ? (pageInfo.endCursor ?? null) : null);
    }, setError);
  }, [flux, key, next]);

  return { runs, loading, error, hasMore: next !== null, loadMore };
}

/** The list with changes in it, the newest run first. An older state never replaces a newer one; what no longer fits goes. */
export function merge(before: readonly ListedRun[], changes: ReadonlyMap<string, RunChange>): readonly ListedRun[] {
  if (changes.size === 0) return before;
  const runs = new Map(before.map((run) => [run.id, run]));
  for (const [id, { matches, run }] of changes) {
    const known = runs.get(id);
    if (known && BigInt(known.version) > BigInt(run.version)) continue;
    if (matches) runs.set(id, run);
    else runs.delete(id);
  }
  return [...runs.values()].sort((a, b) => b.createdAt.localeCompare(a.createdAt) || b.runId.localeCompare(a.runId));
}
