import { listRunChanges, numberRunChanges } from '../db/run-feed.ts';
import type { Run, RunFilter } from '../db/runs.ts';
import { inTenant } from '../db/transaction.ts';
import { type FluxError, toFluxError } from '../errors.ts';
import type { FollowDeps } from '../events/follow.ts';
import { anyRun } from '../events/listen.ts';
import { pause } from '../events/pause.ts';
import { abortable } from '../events/stream.ts';
import { createWaker } from '../events/waker.ts';

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

const pageLimit = 100;
const defaultPollMs = 1_000;
/** Hints name any agency's runs: they are taken together, so that a busy neighbour costs a few reads a second. */
const quietMs = 150;
const retryMs = 1_000;

/**
 * Every run of the agency whenever its state has changed, at its newest state, as long as somebody reads; never ends by itself.
 * What changed several times meanwhile comes once. Nothing that changed after the place is missed, however long ago.
 */
export function followRunChanges(
  deps: FollowDeps,
  request: RunChangesRequest,
): AsyncIterableIterator<RunChange, void, void> {
  return abortable((signal) => readOn(deps, { ...request, signal }), request.signal);
}

async function* readOn(deps: FollowDeps, request: RunChangesRequest): AsyncGenerator<RunChange, void, void> {
  const { sealed, signal, filter } = request;
  const { statuses, ...conditions } = filter;
  const reader: Reader = { sealed, wake: () => undefined };
  const watch = joinWatch(deps, request.viewer, reader);
  signal.addEventListener('abort', () => reader.wake(), { once: true });
  try {
    let last = request.afterSeq;
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => (reader.wake = resolve));
      const { head, failure } = watch.state();
      if (failure) throw failure;
      if (head !== undefined) last ??= head;
      if (head === undefined || last === null || last >= head) {
        await woken;
        continue;
      }
      const from = last;
      const page = await patiently(signal, () =>
        inTenant(deps.pool, sealed(), (tx) =>
          listRunChanges(tx, { filter: conditions, afterSeq: from, upToSeq: head, limit: pageLimit }),
        ),
      );
      for (const { feedSeq, ...run } of page ?? []) {
        yield { run, seq: feedSeq, matches: !statuses || statuses.includes(run.status) };
        last = feedSeq;
      }
      if (page && page.length < pageLimit) last = head;
    }
  } finally {
    watch.leave();
  }
}

interface Reader {
  sealed(): string;
  wake(): void;
}

interface Watch {
  readers: Set<Reader>;
  head: bigint | undefined;
  failure: FluxError | undefined;
  closing: AbortController;
}

const watches = new WeakMap<object, Map<string, Watch>>();

/** One watch of the feed's end for all who see the same: it numbers what has changed, and says how far the feed reaches. */
function joinWatch(deps: FollowDeps, viewer: string, reader: Reader) {
  const known = watches.get(deps) ?? new Map<string, Watch>();
  watches.set(deps, known);
  const watch = known.get(viewer) ?? {
    readers: new Set(),
    head: undefined,
    failure: undefined,
    closing: new AbortController(),
  };
  const forget = (): void => {
    if (known.get(viewer) === watch) known.delete(viewer);
  };
  watch.readers.add(reader);
  if (!known.has(viewer)) {
    known.set(viewer, watch);
    void keepWatch(deps, watch).finally(forget);
  }
  return {
    state: () => ({ head: watch.head, failure: watch.failure }),
    leave(): void {
      if (!watch.readers.delete(reader) || watch.readers.size > 0) return;
      forget();
      watch.closing.abort();
    },
  };
}

async function keepWatch(deps: FollowDeps, watch: Watch): Promise<void> {
  const { signal } = watch.closing;
  const waker = createWaker(deps.hints, anyRun);
  signal.addEventListener('abort', () => waker.release(), { once: true });
  let untold = false; // the last read found a change that no hint had told yet
  try {
    while (!signal.aborted) {
      const told = waker.arm();
      // A hint is sent after its commit and debounced, so a read may be before it: only one that has not come by now is missing.
      if (untold && !told) deps.hints.missed();
      const head = await patiently(signal, () => inTenant(deps.pool, anySeal(watch), numberRunChanges));
      if (head === undefined) return;
      const moved = watch.head !== head;
      untold = moved && !told && watch.head !== undefined;
      watch.head = head;
      if (moved) for (const reader of [...watch.readers]) reader.wake();
      await waker.wait(deps.pollMs ?? defaultPollMs, signal);
      await pause(Math.min(quietMs, deps.pollMs ?? quietMs), signal);
    }
  } catch (cause) {
    watch.failure = toFluxError(cause);
    for (const reader of [...watch.readers]) reader.wake();
  } finally {
    waker.release();
  }
}

/** A fresh context of a reader whose token is good. */
function anySeal({ readers }: Watch): string {
  let refusal: FluxError | undefined;
  for (const reader of readers) {
    try {
      return reader.sealed();
    } catch (cause) {
      refusal = toFluxError(cause);
    }
  }
  throw refusal ?? toFluxError(new Error('nobody reads'));
}

/** Waits out a database that does not answer. @returns undefined when the signal ended first */
async function patiently<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T | undefined> {
  while (!signal.aborted) {
    try {
      return await work();
    } catch (cause) {
      const error = toFluxError(cause);
      if (!error.retryable) throw error;
      await pause(retryMs, signal);
    }
  }
  return undefined;
}
