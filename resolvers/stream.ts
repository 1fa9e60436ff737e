import type { OperationTrace } from '../src/audit/operation-trace.ts';
import { type FluxError, toFluxError } from '../src/errors.ts';
import { type Batches, type BatchStream, batchStream, hasBatches } from '../src/events/batches.ts';

/** An item of a stream, or the failure that ended it. */
export type Streamed<T extends object> = T | Failed;

export class Failed {
  readonly error: FluxError;

  constructor(error: FluxError) {
    this.error = error;
  }
}

/**
 * Turns a failure within a stream into its last item. A source that throws makes graphql-ws close the socket, and with it every
 * other subscription of that client; as an item it becomes an ordinary GraphQL error of this one (`itemOf`).
 */
export function withFailure<T extends object>(
  source: AsyncIterableIterator<T, void, void>,
): AsyncIterableIterator<Streamed<T>, void, void> & { return(): Promise<IteratorResult<Streamed<T>, void>> } {
  let failed = false;
  return {
    async next() {
      if (failed) return { done: true, value: undefined };
      try {
        return await source.next();
      } catch (cause) {
        failed = true;
        return { done: false, value: new Failed(toFluxError(cause)) };
      }
    },
    async return() {
      await source.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** The same for a stream that is read in batches. */
export function withFailureInBatches<T extends object>({ batches }: BatchStream<T>): BatchStream<Streamed<T>> {
  let failure: Failed | undefined;
  let told = false;
  const failing: Batches<Streamed<T>> = {
    async look(most) {
      if (told) return null;
      try {
        return failure ? [failure] : await batches.look(most);
      } catch (cause) {
        failure = new Failed(toFluxError(cause));
        return [failure];
      }
    },
    take(items) {
      if (items.some((item) => item instanceof Failed)) told = true;
      else batches.take(items as readonly T[]);
    },
    close: () => batches.close(),
  };
  return batchStream(failing);
}

/** @throws what ended the stream */
export function itemOf<T extends object>(item: Streamed<T>): T {
  if (item instanceof Failed) throw item.error;
  return item;
}

/** A stream that is audited from now until it closes: by its own end, by a failure, or because nobody reads on. */
export function audited<T extends object>(
  stream: AsyncIterableIterator<Streamed<T>>,
  trace: OperationTrace,
  field: string,
): AsyncIterableIterator<Streamed<T>> {
  const openedAt = performance.now();
  let open = true;
  const close = (end: Parameters<OperationTrace['closed']>[1]): void => {
    if (!open) return;
    open = false;
    trace.closed(field, end, Math.round((performance.now() - openedAt) / 100) / 10);
  };
  trace.opened(field);
  if (hasBatches(stream)) return auditedBatches(stream.batches as Batches<Streamed<T>>, close);
  return {
    async next() {
      try {
        const step = await stream.next();
        if (step.done) close('ENDED');
        else if (step.value instanceof Failed) close(step.value.error.code);
        return step;
      } catch (cause) {
        close(toFluxError(cause).code);
        throw cause;
      }
    },
    async return() {
      close('LEFT');
      await stream.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

function auditedBatches<T extends object>(
  batches: Batches<Streamed<T>>,
  close: (end: Parameters<OperationTrace['closed']>[1]) => void,
): BatchStream<Streamed<T>> {
  return batchStream<Streamed<T>>({
    async look(most) {
      const items = await batches.look(most);
      if (!items) close('ENDED');
      return items;
    },
    take(items) {
      const failed = items.find((item) => item instanceof Failed);
      if (failed instanceof Failed) close(failed.error.code);
      batches.take(items);
    },
    close() {
      close('LEFT');
      batches.close();
    },
  });
}
