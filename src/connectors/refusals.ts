import { FluxError } from '../errors.ts';

/** Nothing but a change of the source, or of its connection, will help. */
export function invalidSource(message: string, cause?: unknown): FluxError {
  return new FluxError('SOURCE_INVALID', message, cause === undefined ? {} : { cause });
}

/** It may work later; Flux tries again. */
export function unavailableSource(message: string, cause?: unknown): FluxError {
  return new FluxError('SOURCE_UNAVAILABLE', message, cause === undefined ? {} : { cause });
}
