import type { FastifyReply } from 'fastify';

import type { FluxError } from '../../errors.ts';
import { type FormattedError, statusOf } from '../error-format.ts';

/** A failure as RFC 9457 has it, with what Flux says of its errors everywhere. */
export interface Problem {
  /** Names the kind of failure; docs/errors.md lists them. */
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  class: string;
  errorId: string;
  retryable: boolean;
  traceId?: string | null | undefined;
  issues?: unknown;
  candidates?: unknown;
}

export const problemType = 'application/problem+json';

export function problemOf(
  status: number,
  { message, extensions }: Pick<FormattedError, 'message' | 'extensions'>,
): Problem {
  const { code } = extensions;
  return { type: `urn:flux:error:${code}`, title: titleOf(code), status, detail: message, ...extensions };
}

/** Answers with a problem; what does not exist is 404 here. */
export function sendProblem(
  reply: FastifyReply,
  failure: FluxError,
  said: Pick<FormattedError, 'message' | 'extensions'>,
): FastifyReply {
  const status = failure.code === 'NOT_FOUND' ? 404 : statusOf(failure);
  return reply
    .code(status)
    .type(`${problemType}; charset=utf-8`)
    .send(JSON.stringify(problemOf(status, said)));
}

/** `INVALID_INPUT` as `Invalid input`. */
function titleOf(code: string): string {
  return code.charAt(0) + code.slice(1).toLowerCase().replaceAll('_', ' ');
}
