import type { FastifyError } from 'fastify';

import { FluxError } from '../errors.ts';
import { failureOf } from './error-format.ts';

export const bodyBytesMax = 100_000;

const pathErrors = new Set(['FST_ERR_BAD_URL', 'FST_ERR_MAX_PARAM_LENGTH']);

/** Fastify's own refusals (size, media type, malformed JSON) are the request's fault; what else is thrown is ours. */
export function fromHttp(error: FastifyError | FluxError): FluxError {
  if (error instanceof FluxError || error.statusCode === undefined || error.statusCode >= 500) return failureOf(error);
  if (error.statusCode === 413) {
    return new FluxError('LIMIT_EXCEEDED', `The body is larger than ${String(bodyBytesMax)} bytes.`, { cause: error });
  }
  // Its own words repeat the whole path.
  const message = pathErrors.has(error.code)
    ? 'The path is no valid address, or a part of it is too long.'
    : error.message;
  return new FluxError('INVALID_INPUT', message, { cause: error });
}
