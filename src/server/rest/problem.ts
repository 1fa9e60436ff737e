import type { FormattedError } from '../error-format.ts';

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

/** `INVALID_INPUT` as `Invalid input`. */
function titleOf(code: string): string {
  return code.charAt(0) + code.slice(1).toLowerCase().replaceAll('_', ' ');
}
