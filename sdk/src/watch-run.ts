import type { Client } from './client.ts';
import { unavailable, unknownRun } from './errors.ts';
import {
  RunEventLogDocument,
  type RunEventLogQuery,
  RunEventsDocument,
  type RunEventsSubscription,
  RunStandingDocument,
} from './generated/graphql.ts';
import type { StreamHooks } from './stream.ts';
import { poll, watch, type WatchOptions } from './watch-options.ts';

/** An event of a run, or what the stream has to say of itself: StreamGap, StreamEnd. */
export type RunEventItem = RunEventsSubscription['runEvents'];
export type RunEvent = RunEventLogQuery['runEventLog']['edges'][number]['node'];

export interface WatchRunOptions extends WatchOptions {
  /** Go on after this event's `cursor`; the first event if absent. */
  after?: string | null;
  /** Also the events' `data`, for which the role needs data:read (null without it). */
  withData?: boolean;
}

const pageSize = 100;

/**
 * Every event of a run in order and each once, over broken connections, restarts of the API and ended tokens; the last item is
 * StreamEnd. It comes over WebSocket, or as an event stream, or by asking again and again, whichever gets through.
 *
 * @throws FluxError NOT_FOUND, CURSOR_EXPIRED, UNAUTHENTICATED …: what no other try can change
 */
export function watchRun(
  client: Client,
  runId: string,
  options: WatchRunOptions = {},
): AsyncGenerator<RunEventItem, void, undefined> {
  let lastSeq: bigint | undefined;
  const withData = options.withData ?? false;
  return watch<RunEventItem>(
    client,
    {
      after: options.after ?? null,
      async *open(transport, after, hooks) {
        const items =
          transport === 'polling'
            ? pollRun(client, runId, { after, withData, hooks })
            : client.open(transport, RunEventsDocument, { runId, after, withData }, 'runEvents', hooks);
        for await (const item of items) {
          const seq = seqOf(item);
          if (seq === undefined) {
            if (item.__typename === 'StreamGap') lastSeq = BigInt(item.toSeq);
            yield item;
          } else if (lastSeq === undefined || seq === lastSeq + 1n) {
            lastSeq = seq;
            yield item;
          } else if (seq > lastSeq) {
            throw unavailable(`Event ${String(seq)} came after ${String(lastSeq)}; asking for what is missing.`);
          }
        }
      },
      cursorOf: ({ cursor }) => cursor,
      isLast: ({ __typename }) => __typename === 'StreamEnd',
    },
    options,
  );
}

function seqOf(item: RunEventItem): bigint | undefined {
  return item.__typename === 'StreamEnd' || item.__typename === 'StreamGap' ? undefined : BigInt(item.seq);
}

interface PollRun {
  after: string | null;
  withData: boolean;
  hooks: StreamHooks;
}

/** The same items out of runEventLog, which has the same cursors. */
function pollRun(client: Client, runId: string, { after, withData, hooks }: PollRun): AsyncIterable<RunEventItem> {
  let cursor = after;
  const { signal } = hooks;
  return poll<RunEventItem>(client, hooks, async () => {
    // Asked first: what has ended by then has all its events in the page that is read after it.
    const run = await client.query(RunStandingDocument, { id: runId }, 'run', { signal });
    if (!run) throw unknownRun(runId);
    const { edges, pageInfo } = await client.query(
      RunEventLogDocument,
      { runId, after: cursor, first: pageSize, withData },
      'runEventLog',
      { signal },
    );
    const items: RunEventItem[] = edges.map(({ node }) => node);
    cursor = edges.at(-1)?.cursor ?? cursor;
    const over = run.isTerminal && !pageInfo.hasNextPage && isUpTo(edges.at(-1)?.node, run.lastSeq);
    if (!over) return { items, more: pageInfo.hasNextPage };
    const end: RunEventItem = {
      __typename: 'StreamEnd',
      runId: run.runId,
      status: run.status,
      attempt: run.attempt,
      lastSeq: run.lastSeq,
      cursor: cursor ?? '',
    };
    return { items: [...items, end], more: false, last: true };
  });
}

/** A resume between the two requests has events after the ending. */
function isUpTo(last: RunEvent | undefined, lastSeq: string): boolean {
  return last === undefined || last.seq === lastSeq;
}
