/**
 * An async iterable whose `return()` takes effect at once. A bare async generator that waits on `await` only queues `return()`
 * (graphql-ws issue 653), so a client's Complete would stop nothing: here it aborts the generator's signal first.
 *
 * The source is started by the first `next()`, so an iterator that is never read holds nothing.
 *
 * @param signal the caller's own end, such as a closed socket
 */
export function abortable<T>(
  source: (signal: AbortSignal) => AsyncGenerator<T, void, void>,
  signal: AbortSignal,
): AsyncIterableIterator<T, void, void> & { return(): Promise<IteratorResult<T, void>> } {
  const ending = new AbortController();
  const generator = source(AbortSignal.any([signal, ending.signal]));
  return {
    next: () => generator.next(),
    return: () => {
      ending.abort();
      return generator.return();
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
