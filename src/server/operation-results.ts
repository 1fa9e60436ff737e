import type { ExecutionResult } from 'graphql';

import type { SharedResults } from './shared-results.ts';

/**
 * A subscription's results whose `return()` aborts the operation's signal first: a source that waits ends then, instead of
 * queueing the return behind its wait (graphql-ws issue 653). Nothing is sent after the token has ended.
 *
 * @param expired whether the token has ended; whoever answers yes also closes the connection
 */
export function abortFirst(
  source: AsyncGenerator<ExecutionResult>,
  controller: AbortController,
  expired: () => boolean,
): AsyncGenerator<ExecutionResult> {
  return {
    async next() {
      const step = await source.next();
      if (step.done !== true && expired()) {
        controller.abort();
        await source.return(undefined);
        return { done: true, value: undefined };
      }
      return step;
    },
    return(value) {
      controller.abort();
      return source.return(value);
    },
    throw(error) {
      controller.abort();
      return source.throw(error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await this.return(undefined);
    },
  };
}

/**
 * Shared results as the source that graphql-ws waits for: it yields nothing, because `work` sends the results itself, and is over
 * when `work` is. Ended by the client, it ends the stream at once.
 */
export function deliveredBy(
  { batches }: SharedResults,
  controller: AbortController,
  work: () => Promise<void>,
): AsyncGenerator<ExecutionResult> {
  const end = (): void => {
    controller.abort();
    batches.close();
  };
  return {
    async next() {
      await work();
      return { done: true, value: undefined };
    },
    return(value) {
      end();
      return Promise.resolve({ done: true, value: value as ExecutionResult });
    },
    throw(error) {
      end();
      return Promise.reject(error as Error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await this.return(undefined);
    },
  };
}
