import type { RunChange, RunsQuery, RunsQueryVariables } from '@flux-etl/sdk';
import { useCallback, useEffect, useRef, useState } from 'react';

import { useSession } from '../use-session.ts';
import { emptyWindow, type RunWindow, withChanges, withFirst, withNext } from './run-window.ts';

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
  const [held, setHeld] = useState<RunWindow<ListedRun>>(emptyWindow);
  const [loading, setLoading] = useState(true);
  const [error, setError] = useState<unknown>(null);
  const generation = useRef(0);
  const readAgain = useRef(() => {});

  useEffect(() => {
    generation.current += 1;
    const stop = new AbortController();
    const wanted = JSON.parse(key) as RunFilter;
    let changed = new Map<string, RunChange>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    setLoading(true);
    setHeld(emptyWindow);
    setError(null);

    const draw = (): void => {
      timer = undefined;
      const batch = changed;
      changed = new Map();
      setHeld((before) => withChanges(before, batch.values()));
    };
    const readFirst = async (): Promise<void> => {
      const page = await flux.api.runs({ filter: wanted, first: pageSize }, { signal: stop.signal });
      setHeld((before) => withFirst(before, page));
      setLoading(false);
    };
    const follow = async (): Promise<void> => {
      // Read before the feed is open as well, so that a list is there where no stream gets through.
      await readFirst();
      const changes = flux.runs.changes({
        filter: wanted,
        signal: stop.signal,
        // The feed begins at a place that was fixed before it says that it is live: what changed between the reading above and that
        // place is in this one, which is asked for after it.
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
    readAgain.current = () => void readFirst().catch(report);
    void follow().catch(report);
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [flux, key]);

  // Only new runs, none of which came with a page: with their places the list can let the oldest go.
  const overfull = held.runs.length > held.keptMax;
  useEffect(() => {
    if (overfull) readAgain.current();
  }, [overfull]);

  const { next } = held;
  const loadMore = useCallback(() => {
    const asked = generation.current;
    const filterNow = JSON.parse(key) as RunFilter;
    void flux.api.runs({ filter: filterNow, first: pageSize, after: next }).then((page) => {
      if (asked !== generation.current) return;
      // Another one, where the list has let its oldest go meanwhile or the button was pressed twice.
      setHeld((before) => (before.next === next ? withNext(before, page) : before));
    }, setError);
  }, [flux, key, next]);

  return { runs: held.runs, loading, error, hasMore: next !== null, loadMore };
}
