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
