import { inTenant } from '../db/transaction.ts';
import { FluxError } from '../errors.ts';
import type { Feed, FeedHead } from './feed.ts';
import type { FollowDeps } from './follow.ts';

export interface FeedPageRequest {
  sealed: () => string;
  /** null asks for no items, only for where the feed stands now. */
  afterSeq: bigint | null;
  /** Most items, 1 to 200. */
  limit: number;
  signal: AbortSignal;
  /** For how long at most the end is looked for, milliseconds; 5,000 if absent. */
  patienceMs?: number;
}

export interface FeedPage<T> {
  items: readonly T[];
  /** Where to go on, also when there are no items: whatever comes from now on stands behind it. */
  end: bigint;
  /** There may be more behind the end already. */
  more: boolean;
}

/** A question's own time is twice that. */
const usualPatienceMs = 5_000;

/**
 * One page of a feed, in order, for whoever does not follow it.
 *
 * @throws UNAVAILABLE the database does not answer, for which it does not wait; or the end is so far that it was not reached, which
 * the next question brings nearer
 */
export async function readFeedPage<T extends object>(
  { pool }: Pick<FollowDeps, 'pool'>,
  { findHead, readPage, placeOf }: Pick<Feed<T>, 'findHead' | 'readPage' | 'placeOf'>,
  { sealed, afterSeq, limit, signal, patienceMs = usualPatienceMs }: FeedPageRequest,
): Promise<FeedPage<T>> {
  // In a transaction of its own: a place that is told must be committed, or others could be given the same again.
  const look = (): Promise<FeedHead> => inTenant(pool, sealed(), findHead, signal);
  const until = performance.now() + patienceMs;
  let head = await look();
  if (afterSeq === null) {
    while (head.more) {
      if (performance.now() >= until) throw farAway(patienceMs);
      head = await look();
    }
    return { items: [], end: head.place, more: false };
  }
  const upToSeq = head.place;
  const items = await inTenant(pool, sealed(), (tx) => readPage(tx, { afterSeq, upToSeq, limit: limit + 1 }), signal);
  const last = items.length > limit ? items[limit - 1] : undefined;
  if (last) return { items: items.slice(0, limit), end: placeOf(last), more: true };
  return { items, end: upToSeq, more: head.more };
}

function farAway(ms: number): FluxError {
  const message = `So much has come to the feed that its end was not reached within ${String(ms)} ms. Ask again: it goes on from there.`;
  return new FluxError('UNAVAILABLE', message);
}
