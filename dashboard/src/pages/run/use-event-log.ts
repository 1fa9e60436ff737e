import type { RunEvent } from '@flux-etl/sdk';
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';

import { useSession } from '../../use-session.ts';
import { append, type EventWindow, prepend } from './event-window.ts';

/** A place in the log without events: what the server no longer has, or what this page let go. */
export type LoggedEvent = Pick<
  RunEvent,
  'seq' | 'at' | 'name' | 'message' | 'stage' | 'step' | 'attempt' | 'partitionNo' | 'cursor'
>;

export interface EventLog {
  /** In order, without a hole between the first and the last. */
  events: readonly LoggedEvent[];
  /** There are earlier ones on the server. */
  hasEarlier: boolean;
  loadEarlier: () => Promise<void>;
  /** The attempt is over, and every event of it is here. */
  ended: boolean;
  error: unknown;
  /** Sequence numbers that the stream said are missing. */
  gaps: readonly string[];
}

const pageSize = 200;
/** The oldest of so many events go when more come, and can be loaded again. */
const nothing: EventWindow<LoggedEvent> = { events: [], hasEarlier: false, keptMax: 100_000 };
const drawEveryMs = 250;

/**
 * A run's events from the end backward, and as they come. What a broken connection held back comes once it is back, each event once.
 *
 * @param attempt a resumed run goes on: the stream of each attempt ends with it
 * @param onEvents told of new events, at most every 250 ms
 */
export function useEventLog(
  runId: string,
  attempt: number,
  onEvents: (events: readonly LoggedEvent[]) => void,
): EventLog {
  const { flux } = useSession();
  const [held, setHeld] = useState<EventWindow<LoggedEvent>>(nothing);
  const [ended, setEnded] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [gaps, setGaps] = useState<readonly string[]>([]);
  const cursor = useRef<string | null>(null);
  const tell = useRef(onEvents);
  useEffect(() => {
    tell.current = onEvents;
  });

  useEffect(() => {
    const stop = new AbortController();
    let arrived: LoggedEvent[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    setEnded(false);
    setError(null);
    const draw = (): void => {
      clearTimeout(timer);
      timer = undefined;
      const batch = arrived;
      arrived = [];
      if (batch.length === 0 || stop.signal.aborted) return;
      setHeld((before) => append(before, batch));
      tell.current(batch);
    };
    const follow = async (): Promise<void> => {
      if (cursor.current === null) {
        const { edges, pageInfo } = await flux.api.runEventLog({ runId, last: pageSize }, { signal: stop.signal });
        cursor.current = edges.at(-1)?.cursor ?? null;
        setHeld({ ...nothing, events: edges.map(({ node }) => node), hasEarlier: pageInfo.hasPreviousPage });
      }
      for await (const item of flux.runs.watch(runId, { after: cursor.current, signal: stop.signal })) {
        cursor.current = item.cursor;
        if (item.__typename === 'StreamEnd') continue;
        if (item.__typename === 'StreamGap') setGaps((before) => [...before, `${item.fromSeq} to ${item.toSeq}`]);
        else arrived.push(item);
        timer ??= setTimeout(draw, drawEveryMs);
      }
      draw();
      if (!stop.signal.aborted) setEnded(true);
    };
    void follow().catch((cause: unknown) => !stop.signal.aborted && setError(cause));
    return () => {
      stop.abort();
      clearTimeout(timer);
      // What had come and was not drawn is asked for again.
      cursor.current = arrived.length > 0 ? null : cursor.current;
    };
  }, [flux, runId, attempt]);

  const first = held.events[0]?.cursor;
  const loadEarlier = useCallback(async () => {
    if (first === undefined) return;
    try {
      const { edges, pageInfo } = await flux.api.runEventLog({ runId, last: pageSize, before: first });
      const page = { before: first, events: edges.map(({ node }) => node), hasEarlier: pageInfo.hasPreviousPage };
      setHeld((before) => prepend(before, page));
    } catch (cause) {
      setError(cause);
    }
  }, [flux, runId, first]);

  // The same object until something of it changes: a page that draws itself for its clock leaves the log alone.
  return useMemo(
    () => ({ events: held.events, hasEarlier: held.hasEarlier, loadEarlier, ended, error, gaps }),
    [held, loadEarlier, ended, error, gaps],
  );
}
