import { FluxError, toFluxError } from '../errors.ts';

/** One who follows. */
export interface WatchReader {
  /** Mints a fresh sealed context. */
  sealed(): string;
  /** There may be something new. */
  wake(): void;
}

/** What a watch knows of those for whom it looks. */
export interface Readers {
  /** A fresh context of a reader whose token is good; all of them see the same. @throws UNAUTHENTICATED nobody's is */
  sealed(): string;
  wakeAll(): void;
  /** Aborts when the last reader has left. */
  readonly signal: AbortSignal;
  /** Takes no more readers: who comes later begins a watch anew. Idempotent. */
  over(): void;
}

interface Entry {
  readers: Set<WatchReader>;
  closing: AbortController;
  watch: object;
  over(): void;
}

/** The watches of a process, by what it looks with. */
const watches = new WeakMap<object, Map<string, Entry>>();

/**
 * Joins what looks at the database for everybody in this process who sees the same, or begins it. Hundreds who follow one thing
 * cost one look at it.
 *
 * @param key what is watched, and what decides how much of it a reader sees; undefined for a watch of one's own
 * @param begin called with the first reader; what it returns is everybody's
 */
export function joinWatch<W extends object>(
  deps: object,
  key: string | undefined,
  reader: WatchReader,
  begin: (readers: Readers) => W,
): { watch: W; leave(): void } {
  const known = watches.get(deps) ?? new Map<string, Entry>();
  watches.set(deps, known);
  let entry = key === undefined ? undefined : known.get(key);
  if (entry) entry.readers.add(reader);
  else {
    const created: Entry = {
      readers: new Set([reader]),
      closing: new AbortController(),
      watch: {},
      over() {
        if (key !== undefined && known.get(key) === created) known.delete(key);
      },
    };
    if (key !== undefined) known.set(key, created);
    created.watch = begin(readersOf(created));
    entry = created;
  }
  const joined = entry;
  return {
    watch: joined.watch as W,
    leave() {
      if (!joined.readers.delete(reader) || joined.readers.size > 0) return;
      joined.over();
      joined.closing.abort();
    },
  };
}

/** One reader's part in a watch, from its first look until its own end or its caller's. */
export interface Membership<W> {
  /** Aborts at the end. */
  readonly ended: AbortSignal;
  /** The watch, joined by the first call, so that who never looks holds nothing; undefined after the end. */
  watch(): W | undefined;
  /** Resolves when the watch wakes its readers the next time, and at the end. One wait at a time. */
  woken(): Promise<void>;
  /** Leaves, also while a wait is on. Idempotent. */
  close(): void;
}

/** @param signal the caller's own end, such as a closed socket */
export function membership<W>(
  signal: AbortSignal,
  join: (wake: () => void) => { watch: W; leave(): void },
): Membership<W> {
  const ended = new AbortController();
  let wake: (() => void) | undefined;
  let joined: { watch: W; leave(): void } | undefined;
  const close = (): void => {
    if (ended.signal.aborted) return;
    ended.abort();
    signal.removeEventListener('abort', close);
    joined?.leave();
    wake?.();
  };
  return {
    ended: ended.signal,
    watch() {
      if (signal.aborted) close();
      if (ended.signal.aborted) return undefined;
      if (!joined) {
        signal.addEventListener('abort', close, { once: true });
        joined = join(() => wake?.());
      }
      return joined.watch;
    },
    woken: () => new Promise<void>((resolve) => (wake = resolve)),
    close,
  };
}

function readersOf({ readers, closing, over }: Entry): Readers {
  return {
    sealed() {
      let refusal = new FluxError('INTERNAL', 'Nobody reads what is watched.');
      for (const reader of readers) {
        try {
          return reader.sealed();
        } catch (cause) {
          refusal = toFluxError(cause); // its token has run out; another's may do
        }
      }
      throw refusal;
    },
    wakeAll() {
      for (const reader of [...readers]) reader.wake();
    },
    signal: closing.signal,
    over,
  };
}
