/**
 * How a failure leaves the server, over HTTP and WebSocket alike: what Flux named keeps its code and message, everything else is
 * INTERNAL with an id that is also in the log.
 */
import { GraphQLError, type GraphQLFormattedError } from 'graphql';

import { type ErrorClass, type ErrorCode, FluxError, publicMessage, toFluxError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { countFailure } from '../telemetry/metrics.ts';

export interface FormatOptions {
  /** Production does not help a stranger to guess names ("Did you mean …"). */
  hideSuggestions: boolean;
  traceId?: string;
}

export interface FormattedError extends GraphQLFormattedError {
  extensions: {
    code: ErrorCode;
    class: ErrorClass;
    errorId: string;
    retryable: boolean;
    traceId?: string;
    issues?: unknown;
    candidates?: unknown;
  };
}

/** One error, as the client reads it. */
export function formatError(error: unknown, { hideSuggestions, traceId }: FormatOptions): FormattedError {
  const failure = failureOf(error);
  const { issues, candidates } = failure.details;
  const message = publicMessage(failure);
  const located = error instanceof GraphQLError ? error : undefined;
  return {
    message: hideSuggestions ? message.replace(/ Did you mean .*\?$/s, '') : message,
    ...(located?.locations ? { locations: located.locations } : {}),
    ...(located?.path ? { path: located.path } : {}),
    extensions: {
      code: failure.code,
      class: failure.class,
      errorId: failure.errorId,
      retryable: failure.retryable,
      ...(traceId === undefined ? {} : { traceId }),
      ...(issues ? { issues } : {}),
      ...(candidates ? { candidates } : {}),
    },
  };
}

const failures = new WeakMap<Error, FluxError>();

/**
 * The named failure behind an error; asked twice about one error it gives the same, and so the same id. So it does for all fields that one
 * thing failed, such as a query that was made for them together.
 */
export function failureOf(error: unknown): FluxError {
  if (!(error instanceof Error)) return toFluxError(error);
  const origin = originOf(error);
  const asked = origin instanceof GraphQLError ? error : origin;
  const known = failures.get(asked);
  if (known) return known;
  const failure = classify(error);
  failures.set(asked, failure);
  return failure;
}

function classify(error: Error): FluxError {
  const origin = originOf(error);
  if (!(origin instanceof GraphQLError)) {
    // Pothos' own refusals of an argument, such as the id of another type.
    if (origin.name === 'PothosValidationError')
      return new FluxError('INVALID_INPUT', origin.message, { cause: origin });
    return toFluxError(origin);
  }
  if (isRequestError(error, origin)) return new FluxError(codeOf(origin), origin.message, { cause: origin });
  return new FluxError('INTERNAL', origin.message, { cause: origin });
}

/** What was thrown first. graphql wraps it once for the place, and once more for a variable. */
function originOf(error: Error): Error {
  let origin = error;
  while (origin instanceof GraphQLError && origin.originalError) origin = origin.originalError;
  return origin;
}

/** graphql's own complaints about the request have no path; those about an argument have, all others are our fault. */
function isRequestError(error: Error, origin: GraphQLError): boolean {
  const path = error instanceof GraphQLError ? error.path : undefined;
  return path === undefined || origin.message.startsWith('Argument "');
}

// graphql 16.15 says "more that".
function codeOf(origin: GraphQLError): ErrorCode {
  return /contains more tha[nt] \d+ tokens/.test(origin.message) ? 'LIMIT_EXCEEDED' : 'INVALID_INPUT';
}

/** The status of a request that fails as a whole, as application/graphql-response+json. */
export function statusOf(failure: FluxError): number {
  if (failure.code === 'LIMIT_EXCEEDED') return 429;
  switch (failure.class) {
    case 'VALIDATION':
      return 400;
    case 'AUTHENTICATION':
      return 401;
    case 'AUTHORIZATION':
    case 'DATA_ISOLATION':
      return 403;
    case 'TRANSIENT':
      return 503;
    case 'TERMINAL':
    case 'CHECKPOINT':
      return 500;
  }
}

/** Counts what a client is told, and logs what somebody may have to look at; an ordinary refusal is a line for debugging. */
export function logFailure(
  logger: Logger,
  error: unknown,
  request: { requestId: string; traceId: string; agency?: string },
  { told = true }: { told?: boolean } = {},
): void {
  const failure = failureOf(error);
  if (told) countFailure(failure);
  const fields = { ...request, errorId: failure.errorId, code: failure.code };
  if (failure.code === 'INTERNAL')
    logger.error({ ...fields, err: failure.cause ?? failure }, 'an operation failed unexpectedly');
  else if (failure.class === 'VALIDATION')
    logger.debug({ ...fields, detail: failure.message }, 'an operation was refused');
  else if (failure.class === 'AUTHORIZATION' || failure.class === 'DATA_ISOLATION') {
    logger.warn({ ...fields, detail: failure.message }, 'an operation was refused');
  } else logger.warn({ ...fields, err: failure }, 'an operation failed');
}

/** Logs what a client is about to read, and words it. */
export function reportErrors(
  logger: Logger,
  errors: readonly unknown[],
  { hideSuggestions, ...request }: { hideSuggestions: boolean; requestId: string; traceId: string; agency?: string },
): FormattedError[] {
  return errors.map((error) => {
    logFailure(logger, error, request);
    return formatError(error, { hideSuggestions, traceId: request.traceId });
  });
}
