/** A stream that can be read in batches. Whoever looks and does not take has lost nothing: the same comes again. */
export interface Batches<T> {
  /** Waits for what comes next, up to `most` items; null when the stream is over. One call at a time. */
  look(most: number): Promise<readonly T[] | null>;
  /** Moves behind items that were looked at, from the first of them on. */
  take(items: readonly T[]): void;
  /** Ends the stream at once, also while somebody looks. Idempotent. */
  close(): void;
}

export type BatchStream<T> = AsyncIterableIterator<T, void, void> & {
  return(): Promise<IteratorResult<T, void>>;
  readonly batches: Batches<T>;
};

/** Batches as an async iterator, one item after the other. `return()` takes effect at once, also while `next()` waits. */
export function batchStream<T>(batches: Batches<T>): BatchStream<T> {
  return {
    batches,
    async next() {
      const items = await batches.look(1);
      const item = items?.[0];
      if (item === undefined) return { done: true, value: undefined };
      batches.take([item]);
      return { done: false, value: item };
    },
    return() {
      batches.close();
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

export function hasBatches(source: AsyncIterable<unknown>): source is BatchStream<object> {
  return 'batches' in source;
}
