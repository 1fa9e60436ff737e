import type { FastifyError } from 'fastify';

import { FluxError } from '../errors.ts';
import { failureOf } from './error-format.ts';

export const bodyBytesMax = 100_000;

/** Fastify's own refusals (size, media type, malformed JSON) are the request's fault; what else is thrown is ours. */
export function fromHttp(error: FastifyError | FluxError): FluxError {
  if (error instanceof FluxError || error.statusCode === undefined || error.statusCode >= 500) return failureOf(error);
  if (error.statusCode === 413) {
    return new FluxError('LIMIT_EXCEEDED', `The body is larger than ${String(bodyBytesMax)} bytes.`, { cause: error });
  }
  return new FluxError('INVALID_INPUT', error.message, { cause: error });
}
