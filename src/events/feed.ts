import type { Connection } from '../db/pool.ts';
import { inTenant } from '../db/transaction.ts';
import { type FluxError, toFluxError } from '../errors.ts';
import { type BatchStream, batchStream } from './batches.ts';
import type { FollowDeps } from './follow.ts';
import { patiently } from './patiently.ts';
import { pause } from './pause.ts';
import { joinWatch, membership, type Readers } from './shared-watch.ts';
import { createWaker } from './waker.ts';

/** Something that grows at its end, in places that are numbered upwards, and never ends by itself. */
export interface Feed<T extends object> {
  /** The key of the hints that tell of growth. */
  hint: string;
  /** The last place there is, as far as the session sees; `more` when it has not got to the end yet and is to be asked again. */
  findHead(tx: Connection): Promise<FeedHead>;
  /** Items behind a place, in order, none behind the head, at most `limit`. */
  readPage(tx: Connection, page: { afterSeq: bigint; upToSeq: bigint; limit: number }): Promise<readonly T[]>;
  placeOf(item: T): bigint;
  /** Hints that come within this time of a look are answered by one further look, milliseconds. */
  quietMs: number;
}

export interface FeedHead {
  place: bigint;
  more: boolean;
}

export interface FeedRequest {
  sealed: () => string;
  /** null begins with what comes from now on. */
  afterSeq: bigint | null;
  signal: AbortSignal;
  /** Equal for those who see the same of the feed: they share the look at its end. */
  viewer: string;
  /** Equal for those of them who ask for the same items: they share the pages, and get the same objects. */
  selection: string;
}

const pageLimit = 100;
const pagesKept = 8;
const defaultPollMs = 1_000;

/**
 * What a feed gets behind a place, in order and nothing twice, as long as somebody reads.
 *
 * Interest in hints is registered before the first look, every wait ends by hint or poll, and a reader holds nothing but its
 * place: one that stops reading costs nothing, and one that comes back reads on. The stream outlives a database that is away.
 */
export function followFeed<T extends object>(deps: FollowDeps, feed: Feed<T>, request: FeedRequest): BatchStream<T> {
  const { sealed, viewer, selection } = request;
  let last = request.afterSeq;
  const member = membership(request.signal, (wake) =>
    joinWatch(deps, `feed ${feed.hint} ${viewer}`, { sealed, wake }, (readers) => startWatch(deps, feed, readers)),
  );
  const { ended } = member;

  /** @returns null when the reader left first */
  const findEnd = async (): Promise<bigint | null> => {
    for (;;) {
      const found = await patiently(ended, () => inTenant(deps.pool, sealed(), feed.findHead));
      if (!found?.more) return found?.place ?? null;
    }
  };

  /** @returns undefined when there is nothing yet */
  const ready = async (watch: FeedWatch<T>): Promise<readonly T[] | undefined> => {
    const { head, failure } = watch.state();
    if (failure) throw failure;
    last ??= await findEnd();
    while (last !== null && head !== undefined && last < head && !ended.aborted) {
      const page = await watch.page({ selection, place: last, read: feed.readPage, signal: ended });
      if (!page) return undefined;
      if (page.items.length > 0) return page.items;
      last = page.upTo;
    }
    return undefined;
  };

  return batchStream<T>({
    async look(most) {
      const watch = member.watch();
      while (watch && !ended.aborted) {
        // Before the look: what comes while it reads must wake as well.
        const woken = member.woken();
        const items = await ready(watch);
        if (ended.aborted) return null;
        if (items) return items.slice(0, most);
        await woken;
      }
      return null;
    },
    take(items) {
      const item = items.at(-1);
      if (item) last = feed.placeOf(item);
    },
    close: member.close,
  });
}

interface FeedWatch<T extends object> {
  state(): { head: bigint | undefined; failure: FluxError | undefined };
  /**
   * What a page that is read for all has behind a place, and up to which place it speaks.
   *
   * @returns undefined when the signal ended first
   */
  page(asked: {
    selection: string;
    place: bigint;
    read: Feed<T>['readPage'];
    signal: AbortSignal;
  }): Promise<{ items: readonly T[]; upTo: bigint } | undefined>;
}

interface SharedPage<T> {
  selection: string;
  from: bigint;
  upTo: bigint;
  items: Promise<readonly T[]>;
}

function startWatch<T extends object>(deps: FollowDeps, feed: Feed<T>, readers: Readers): FeedWatch<T> {
  let head: bigint | undefined;
  let failure: FluxError | undefined;
  let pages: SharedPage<T>[] = [];

  const readShared = (selection: string, from: bigint, upTo: bigint, read: Feed<T>['readPage']): SharedPage<T> => {
    const load = async (): Promise<readonly T[]> => {
      const items = await patiently(readers.signal, () =>
        inTenant(deps.pool, readers.sealed(), (tx) => read(tx, { afterSeq: from, upToSeq: upTo, limit: pageLimit })),
      );
      const full = items?.length === pageLimit ? items.at(-1) : undefined;
      if (full) page.upTo = feed.placeOf(full);
      return items ?? [];
    };
    const page: SharedPage<T> = { selection, from, upTo, items: load() };
    page.items.catch(() => (pages = pages.filter((each) => each !== page)));
    pages = [...pages.slice(1 - pagesKept), page];
    return page;
  };

  void keepWatch(deps, feed, readers, {
    head: () => head,
    moved(to) {
      head = to;
      // What stands further behind is read anew: an item may have moved to the end meanwhile.
      pages = [];
      readers.wakeAll();
    },
  })
    .catch((cause: unknown) => {
      failure = toFluxError(cause);
      readers.wakeAll();
    })
    .finally(() => readers.over());

  return {
    state: () => ({ head, failure }),
    async page({ selection, place, read, signal }) {
      const known = pages.find((page) => page.selection === selection && page.from <= place && place < page.upTo);
      const page = known ?? readShared(selection, place, head ?? place, read);
      const items = await unlessAborted(page.items, signal);
      return items && { items: items.filter((item) => feed.placeOf(item) > place), upTo: page.upTo };
    },
  };
}

interface HeadWatch {
  head(): bigint | undefined;
  moved(to: bigint): void;
}

/** Looks for the feed's end until the last reader has left. @throws what no waiting mends */
async function keepWatch<T extends object>(
  deps: FollowDeps,
  feed: Feed<T>,
  { sealed, signal }: Readers,
  watch: HeadWatch,
): Promise<void> {
  const waker = createWaker(deps.hints, feed.hint);
  signal.addEventListener('abort', () => waker.release(), { once: true });
  const pollMs = deps.pollMs ?? defaultPollMs;
  let untold = false; // the last look found a change that no hint had told yet
  try {
    while (!signal.aborted) {
      const told = waker.arm();
      // A hint is sent after its commit and debounced, so a look may be before it: only one that has not come by now is missing.
      if (untold && !told) deps.hints.missed();
      const found = await patiently(signal, () => inTenant(deps.pool, sealed(), feed.findHead));
      if (found === undefined) return;
      const { place: head, more } = found;
      const known = watch.head();
      untold = known !== undefined && known !== head && !told;
      if (known !== head) watch.moved(head);
      if (more) continue;
      await waker.wait(pollMs, signal);
      if (feed.quietMs > 0) await pause(Math.min(feed.quietMs, pollMs), signal);
    }
  } finally {
    waker.release();
  }
}

/** @returns undefined when the signal ended first. Leaves no listener behind */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const end = (): void => resolve(undefined);
    signal.addEventListener('abort', end, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', end));
    if (signal.aborted) end();
  });
}
