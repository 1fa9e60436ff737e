import { setTimeout as after } from 'node:timers/promises';

import { FluxError } from '../errors.ts';
import { invalidSource, unavailableSource } from './refusals.ts';

/** Waits; in tests it may not. @throws the signal's reason */
export type Pause = (ms: number, signal: AbortSignal) => Promise<void>;

export const pauseReally: Pause = async (ms, signal) => {
  await after(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
};

const breaksMax = 10;

/**
 * The bytes of a source that may break off on the way: what is missing is asked for from where it broke, of the same version of
 * the source, and never guessed.
 *
 * @param source.first the answer to the first request
 * @param source.byteCount how many there must be in the end; null where the end of the answer itself is proof
 * @param source.resume asks for the rest of the same version; null where the system offers no such thing
 * @throws SOURCE_INVALID more than `byteCountMax`, or none at all
 * @throws SOURCE_UNAVAILABLE it broke off too often; whatever `resume` throws
 */
export async function* resumedBytes(
  source: {
    origin: string;
    first: AsyncIterable<Uint8Array>;
    byteCount: number | null;
    resume: ((from: number) => Promise<AsyncIterable<Uint8Array>>) | null;
  },
  { byteCountMax, signal, pause = pauseReally }: { byteCountMax: number; signal: AbortSignal; pause?: Pause },
): AsyncGenerator<Uint8Array, void, undefined> {
  const { origin, resume } = source;
  let bytes = source.first;
  let byteCount = 0;
  for (let breaks = 1; ; breaks += 1) {
    let cause: unknown = null;
    try {
      for await (const piece of bytes) {
        signal.throwIfAborted();
        byteCount += piece.byteLength;
        if (byteCount > byteCountMax) throw tooLarge(origin, byteCountMax);
        yield piece;
      }
    } catch (thrown) {
      signal.throwIfAborted();
      if (thrown instanceof FluxError) throw thrown;
      cause = thrown;
    }
    if (cause === null && (source.byteCount === null || byteCount === source.byteCount)) break;
    const place = `after ${String(byteCount)} of ${source.byteCount === null ? 'an unknown number of' : String(source.byteCount)} bytes`;
    if (source.byteCount !== null && byteCount > source.byteCount) {
      throw unavailableSource(`${origin} sent more bytes than the ${String(source.byteCount)} it announced.`, cause);
    }
    if (resume === null || breaks > breaksMax) {
      throw unavailableSource(`${origin} broke off ${place}. Flux tries again.`, cause);
    }
    await pause(Math.min(100 * 2 ** breaks, 10_000), signal);
    bytes = await resume(byteCount);
  }
  if (byteCount === 0) throw invalidSource(`${origin} is empty (0 bytes). Expected at least one record.`);
}

export function tooLarge(origin: string, byteCountMax: number): FluxError {
  return invalidSource(
    `${origin} holds more than ${String(byteCountMax)} bytes, as many as its connection allows. Raise config.maxBytes, or split the source.`,
  );
}
