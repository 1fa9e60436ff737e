import { type FluxError, toFluxError } from '../errors.ts';
import { pause } from './pause.ts';

const retryMs = { first: 100, most: 5_000 };

/**
 * Reads, and waits out a database that does not answer.
 *
 * @param waits told of the first failure of a row of them
 * @returns undefined when the signal ended first
 * @throws what no waiting mends
 */
export async function patiently<T>(
  signal: AbortSignal,
  read: () => Promise<T>,
  waits: (error: FluxError) => void = () => undefined,
): Promise<T | undefined> {
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      return await read();
    } catch (cause) {
      const error = toFluxError(cause);
      if (!error.retryable) throw error;
      if (failures === 0) waits(error);
      await pause(Math.min(retryMs.most, retryMs.first * 2 ** failures), signal);
    }
  }
  return undefined;
}
