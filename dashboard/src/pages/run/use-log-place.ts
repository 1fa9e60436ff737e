import { useCallback, useMemo, useState } from 'react';

import { useSession } from '../../use-session.ts';
import { append, type EventWindow, prepend } from './event-window.ts';
import type { EventLog, LoggedEvent } from './use-event-log.ts';

/** The part of a run's events that is looked at: its end as it grows, or a part further up that was jumped to. */
export interface LogPlace {
  events: readonly LoggedEvent[];
  hasEarlier: boolean;
  loadEarlier: () => Promise<void>;
  /** There are later ones on the server; never at the end, which brings its own. */
  hasLater: boolean;
  loadLater: () => Promise<void>;
  /** What is looked at is the end, as it grows. */
  atEnd: boolean;
  toEnd: () => void;
  /** @returns the first event there is, which is now among `events` */
  toStart: () => Promise<LoggedEvent | null>;
  /** @returns the first event that tells of a failure, which is now among `events`; null when there is none */
  toFirstFailure: () => Promise<LoggedEvent | null>;
  error: unknown;
}

const pageSize = 200;
const failures = ['RunFailed', 'CheckpointRejected'] as const;

interface Part extends EventWindow<LoggedEvent> {
  hasLater: boolean;
}

/** Jumps in the log of a run, however long: the server finds the place, and the page holds what is around it. */
export function useLogPlace(runId: string, log: EventLog): LogPlace {
  const { flux } = useSession();
  const [part, setPart] = useState<Part | null>(null);
  const [error, setError] = useState<unknown>(null);

  const reporting = useCallback(
    <T>(work: Promise<T>): Promise<T | undefined> =>
      work.then(
        (value) => {
          setError(null);
          return value;
        },
        (cause: unknown) => {
          setError(cause);
          return undefined;
        },
      ),
    [],
  );
  const readAfter = useCallback(
    async (after: string | null) => {
      const { edges, pageInfo } = await flux.api.runEventLog({ runId, first: pageSize, after });
      return { events: edges.map(({ node }) => node), hasLater: pageInfo.hasNextPage };
    },
    [flux, runId],
  );
  const readBefore = useCallback(
    async (before: string) => {
      const { edges, pageInfo } = await flux.api.runEventLog({ runId, last: pageSize, before });
      return { before, events: edges.map(({ node }) => node), hasEarlier: pageInfo.hasPreviousPage };
    },
    [flux, runId],
  );

  const toStart = useCallback(async () => {
    const start = await reporting(readAfter(null));
    if (start) setPart({ ...start, hasEarlier: false, keptMax: Infinity });
    return start?.events[0] ?? null;
  }, [readAfter, reporting]);

  const toFirstFailure = useCallback(
    () =>
      reporting(
        flux.api.runEventLog({ runId, names: [...failures], first: 1 }).then(async ({ edges: [found] }) => {
          if (!found) return null;
          const [earlier, later] = await Promise.all([readBefore(found.cursor), readAfter(found.cursor)]);
          const { hasEarlier } = earlier;
          setPart({
            ...{ hasEarlier, hasLater: later.hasLater, keptMax: Infinity },
            events: [...earlier.events, found.node, ...later.events],
          });
          return found.node;
        }),
      ).then((found) => found ?? null),
    [flux, runId, readAfter, readBefore, reporting],
  );

  const first = part?.events[0]?.cursor;
  const last = part?.events.at(-1)?.cursor;
  const loadEarlier = useCallback(async () => {
    const page = first === undefined ? undefined : await reporting(readBefore(first));
    if (page) setPart((before) => before && { ...before, ...prepend(before, page) });
  }, [first, readBefore, reporting]);
  const loadLater = useCallback(async () => {
    const page = last === undefined ? undefined : await reporting(readAfter(last));
    if (!page) return;
    setPart((before) =>
      before && before.events.at(-1)?.cursor === last
        ? { ...before, ...append(before, page.events), hasLater: page.hasLater }
        : before,
    );
  }, [last, readAfter, reporting]);
  const toEnd = useCallback(() => setPart(null), []);

  return useMemo(
    () =>
      part
        ? {
            ...{ events: part.events, hasEarlier: part.hasEarlier, loadEarlier, hasLater: part.hasLater, loadLater },
            ...{ atEnd: false, toEnd, toStart, toFirstFailure, error },
          }
        : {
            ...{ events: log.events, hasEarlier: log.hasEarlier, loadEarlier: log.loadEarlier },
            ...{ hasLater: false, loadLater, atEnd: true, toEnd, toStart, toFirstFailure, error: error ?? log.error },
          },
    [part, log, error, loadEarlier, loadLater, toEnd, toStart, toFirstFailure],
  );
}
