import type { RunEvent } from '../db/run-events.ts';
import { inTenant } from '../db/transaction.ts';
import type { BatchStream } from './batches.ts';
import { batchStream } from './batches.ts';
import { readAfter } from './read-after.ts';
import { joinTail, type RunTail, type StreamEnd, type TailDeps } from './run-tail.ts';
import { membership } from './shared-watch.ts';

export type { RunEvent } from '../db/run-events.ts';
export type { StreamEnd } from './run-tail.ts';

/** Events that exist no longer (or not for the reader): never silence. Both ends are included. */
export interface StreamGap {
  kind: 'gap';
  runId: string;
  fromSeq: bigint;
  toSeq: bigint;
  reason: 'RETENTION';
}

export type RunEventItem = RunEvent | StreamGap | StreamEnd;

export type FollowDeps = TailDeps;

export interface FollowRequest {
  /** Mints a fresh sealed context: one of them does not outlive a long stream. */
  sealed: () => string;
  runId: string;
  /** The last event the client has; 0 for none. */
  afterSeq: bigint;
  signal: AbortSignal;
  /** Equal for those who see the same of a run (agency, role, clearance): they share what is read. */
  viewer?: string;
}

/**
 * Checks a request before anything is streamed, so that the client gets a named refusal and not a broken stream.
 *
 * @throws NOT_FOUND no such run for this caller: unknown, another agency's and above the clearance read alike
 * @throws CURSOR_EXPIRED retention has removed events after the cursor
 */
export async function checkFollow(
  { pool }: Pick<FollowDeps, 'pool'>,
  { sealed, runId, afterSeq }: Omit<FollowRequest, 'signal'>,
): Promise<void> {
  await inTenant(pool, sealed(), (tx) => readAfter(tx, { runId, afterSeq, limit: 1 }));
}

/**
 * Every event of a run after a position, in order and exactly once, as long as it lasts; then `StreamEnd`, and it is over.
 *
 * The table is the truth: interest in hints is registered before the first read, each wait ends by hint or poll, and the next
 * read continues after the last event delivered. Sequence numbers are contiguous, so a hole is seen and said (`StreamGap`).
 * All who see the same of a run share one reading of its live end (`run-tail.ts`) and get the same objects; what lies behind
 * that is read for whoever is behind. A reader who stops reading holds nothing but its place. The stream outlives a database
 * that is away for a while. Nothing is held before the first read or after `return()`.
 *
 * @throws NOT_FOUND in the stream when the run ceases to exist for the caller
 */
export function follow(deps: FollowDeps, request: FollowRequest): BatchStream<RunEventItem> {
  const { runId, sealed, viewer } = request;
  let last = request.afterSeq;
  let over = false;
  const member = membership(request.signal, (wake) => joinTail(deps, { runId, viewer }, { sealed, wake }));
  const { ended } = member;

  /** @returns undefined when there is nothing yet, null when there will be nothing any more */
  const ready = async (from: RunTail, most: number): Promise<readonly RunEventItem[] | null | undefined> => {
    const head = from.head();
    if (head !== undefined && last < head) {
      const live = from.ring.after(last, most);
      if (live === undefined) return historyAfter(from, { runId, place: last, most, head, signal: ended });
      if (live.length > 0) return live;
    }
    const end = from.end();
    if (end && last >= end.lastSeq) return [end];
    const failure = from.failure();
    if (failure !== undefined) throw failure;
    return undefined;
  };

  return batchStream<RunEventItem>({
    async look(most) {
      const tail = over ? undefined : member.watch();
      while (tail && !ended.aborted) {
        const items = await ready(tail, most);
        if (ended.aborted) return null;
        if (items !== undefined) return items;
        await member.woken();
      }
      return null;
    },
    take(items) {
      const item = items.at(-1);
      if (!item) return;
      if (!('kind' in item)) last = item.seq;
      else if (item.kind === 'gap') last = item.toSeq;
      else {
        over = true;
        member.close();
      }
    },
    close: member.close,
  });
}

interface Place {
  runId: string;
  place: bigint;
  most: number;
  head: bigint;
  signal: AbortSignal;
}

/** What the table has after a place behind the ring, with what it has no longer said as gaps. */
async function historyAfter(tail: RunTail, at: Place): Promise<readonly RunEventItem[]> {
  const { runId, place, most, head, signal } = at;
  const { events, upTo } = await tail.block(place, signal);
  const items: RunEventItem[] = [];
  let last = place;
  for (const event of events) {
    if (event.seq <= place) continue;
    if (event.seq > last + 1n) items.push(gap(runId, last + 1n, event.seq - 1n));
    items.push(event);
    last = event.seq;
    if (items.length >= most) return items;
  }
  if (last === upTo || signal.aborted) return items;
  // Removed up to the block's end, and perhaps beyond: one gap says all of it.
  const next = await tail.nextAfter(last, signal);
  return signal.aborted ? items : [...items, gap(runId, last + 1n, next === null ? head : next - 1n)];
}

function gap(runId: string, fromSeq: bigint, toSeq: bigint): StreamGap {
  return { kind: 'gap', runId, fromSeq, toSeq, reason: 'RETENTION' };
}
