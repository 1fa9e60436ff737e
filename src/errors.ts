/**
 * Every failure that Flux names: a class, a stable code, a message that says what was expected, what was found and what to
 * do, and details that are safe to show to the caller. Anything else that is thrown is unexpected and gets masked at the
 * transport.
 */
import { randomUuid } from './crypto/random.ts';
import { maskText, maskValue } from './personal-data/mask.ts';

/** The seven classes of the API's `ErrorClass`. Only TRANSIENT is retried by itself. */
export const errorClasses = [
  'VALIDATION',
  'TRANSIENT',
  'TERMINAL',
  'DATA_ISOLATION',
  'CHECKPOINT',
  'AUTHENTICATION',
  'AUTHORIZATION',
] as const;
export type ErrorClass = (typeof errorClasses)[number];

/** Each code with its class and its meaning; docs/errors.md is generated from this table. */
export const errorCodes = {
  UNAUTHENTICATED: ['AUTHENTICATION', 'There is no token, or it is not valid.'],
  FORBIDDEN: ['AUTHORIZATION', 'The caller’s role lacks the scope.'],
  DOCUMENT_NOT_TRUSTED: ['AUTHORIZATION', 'The document is not among the trusted ones (FLUX_TRUSTED_DOCUMENTS).'],
  DATA_ISOLATION: ['DATA_ISOLATION', 'The request names an agency that is not the caller’s own.'],
  NOT_FOUND: ['VALIDATION', 'No such thing exists for the caller.'],
  INVALID_INPUT: ['VALIDATION', 'The input breaks a rule that the message names.'],
  PIPELINE_NOT_FOUND: ['VALIDATION', 'No enabled pipeline fits; the message lists the candidates.'],
  AMBIGUOUS_PIPELINE: ['VALIDATION', 'Several enabled pipelines fit; the message lists them.'],
  RUN_CONFLICT: ['VALIDATION', 'Another run stands in the way; the details name it.'],
  IDEMPOTENCY_CONFLICT: ['VALIDATION', 'The idempotency key was used before with another request.'],
  INVALID_TRANSITION: ['VALIDATION', 'The run’s state does not allow this.'],
  STAGE_INPUT_MISSING: ['VALIDATION', 'No completed run of an earlier stage has left anything for this one to read.'],
  REFERENCE_MISSING: [
    'VALIDATION',
    'A dataset that the pipeline joins has no load that the run may read, or lacks a column.',
  ],
  REFERENCE_AMBIGUOUS: ['TERMINAL', 'A key of a joined dataset stands for several of its records.'],
  CURSOR_EXPIRED: ['VALIDATION', 'The cursor lies below the retention floor.'],
  LIMIT_EXCEEDED: ['VALIDATION', 'The request passes a limit that the message names.'],
  SOURCE_UNAVAILABLE: ['TRANSIENT', 'The source could not be reached now.'],
  SOURCE_INVALID: ['TERMINAL', 'The source is missing, unreadable, empty, or not what its format declares.'],
  CONTRACT_INVALID: ['VALIDATION', 'The contract does not compile.'],
  CONTRACT_VIOLATED: ['TERMINAL', 'More records broke the contract than the pipeline allows.'],
  PRIVACY_NOT_HELD: ['TERMINAL', 'A load holds a group or a cell that is smaller than its pipeline promises.'],
  PERSONAL_DATA_FOUND: [
    'TERMINAL',
    'A sample of what would be loaded seems to hold personal data, and the pipeline refuses them.',
  ],
  CHECKPOINT_CORRUPTED: ['CHECKPOINT', 'A stored checkpoint does not match its SHA-256 or its place.'],
  CHECKPOINT_INCOMPATIBLE: ['CHECKPOINT', 'The checkpoint was written for another contract or code version.'],
  CHECKPOINT_MISSING: ['CHECKPOINT', 'There is no checkpoint where one is needed.'],
  OBJECT_CORRUPTED: [
    'TERMINAL',
    'A sealed object or record does not verify: it was changed, cut, or put in another’s place.',
  ],
  KEY_UNAVAILABLE: [
    'TERMINAL',
    'The data key that sealed something is destroyed, or no key that unwraps it is configured.',
  ],
  LEASE_LOST: ['TRANSIENT', 'Another worker holds the partition now; nothing was written.'],
  POISON_PARTITION: ['TERMINAL', 'A partition was taken again and again without one committed batch.'],
  TRANSFORM_FAILED: ['TERMINAL', 'A transform’s SQL failed on the records.'],
  DESTINATION_CONFLICT: ['TERMINAL', 'The dataset’s columns and the pipeline’s output do not fit together.'],
  NOT_RECONCILED: ['TERMINAL', 'The counts of the steps do not add up; the message gives the difference.'],
  CONFIG_INVALID: ['TERMINAL', 'The configuration has problems; the message lists all of them.'],
  PORT_IN_USE: ['TERMINAL', 'Another process listens on the port.'],
  ALREADY_RUNNING: ['TERMINAL', 'Another Flux uses this FLUX_HOME.'],
  DATA_DIRECTORY_INCOMPATIBLE: ['TERMINAL', 'The data directory belongs to another major version of Postgres.'],
  MIGRATION_MISMATCH: ['TERMINAL', 'The database’s migrations are not those of this version.'],
  UNAVAILABLE: ['TRANSIENT', 'A service that is needed does not answer now.'],
  INTERNAL: ['TERMINAL', 'An unexpected failure; its id is in the log.'],
} as const satisfies Record<string, readonly [ErrorClass, string]>;
export type ErrorCode = keyof typeof errorCodes;

/** One violated rule of an input document, by JSON Pointer. */
export interface Issue {
  path: string;
  rule: string;
  message: string;
}

export interface ErrorDetails {
  issues?: readonly Issue[];
  candidates?: readonly string[];
  runId?: string;
  [key: string]: unknown;
}

/** Its text and details hold no personal data: they are masked here, wherever they go afterwards. */
export class FluxError extends Error {
  override readonly name: string = 'FluxError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
  /** Names this one occurrence, to the caller and in the log. */
  readonly errorId: string = randomUuid();

  constructor(code: ErrorCode, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(maskText(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = maskValue(options.details ?? {});
  }

  get class(): ErrorClass {
    return errorCodes[this.code][0];
  }

  get retryable(): boolean {
    return this.class === 'TRANSIENT';
  }
}

/**
 * What a caller may read. A failure that Flux did not word itself (INTERNAL, and UNAVAILABLE around what the driver threw) can
 * hold statements, hosts or names; its own text is for the log alone.
 */
export function publicMessage(error: FluxError): string {
  if (error.code === 'INTERNAL') return 'Something unexpected failed. Report the errorId: it is in the log.';
  if (error.code === 'UNAVAILABLE' && error.cause !== undefined)
    return 'A service that is needed does not answer now. Try again.';
  return error.message;
}

/** Narrows by code, so that a caller names the failure it handles. */
export function isFluxError<C extends ErrorCode>(error: unknown, code?: C): error is FluxError & { code: C } {
  return error instanceof FluxError && (code === undefined || error.code === code);
}

/** SQLSTATE classes that pass by themselves: connection, a pause too long, serialization, deadlock, lock timeout, shutdown, resources. */
const transientSqlStates = /^(08|25P03|40001|40P01|55P03|57P0[123]|53)/;
const transientSystemCodes = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN']);
/** What a host has run out of: another host may have it, and so may this one once somebody makes room. */
const exhaustionCodes = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE']);

/** Ends the message of what workers and services repeat. Where nobody repeats it, something else must take its place. */
export const retryPromise = 'Flux tries again by itself.';

/** Turns what the database or the system threw into a named failure; what is not known becomes INTERNAL. */
export function toFluxError(cause: unknown): FluxError {
  if (cause instanceof FluxError) return cause;
  const code = (cause as { code?: unknown } | null)?.code;
  const text = cause instanceof Error ? cause.message : String(cause);
  if (code === 'FX001') return new FluxError('CHECKPOINT_CORRUPTED', text, { cause });
  if (code === 'FX002') return new FluxError('INVALID_TRANSITION', text, { cause });
  // A data key was retired between taking it and storing what it sealed (migrations/0055): the next try takes the newest.
  if (code === 'FX010') return new FluxError('UNAVAILABLE', text, { cause });
  if (code === '22021' || code === '22P05') {
    return new FluxError(
      'INVALID_INPUT',
      'A text of the input holds a NUL character, which cannot be stored. Remove it.',
      { cause },
    );
  }
  if (typeof code === 'string' && exhaustionCodes.has(code)) {
    return new FluxError(
      'UNAVAILABLE',
      `This host has run out of room for files (${text}). Make room. ${retryPromise}`,
      { cause },
    );
  }
  const lost =
    /Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect/;
  if (
    (typeof code === 'string' &&
      (transientSystemCodes.has(code) || (/^[0-9A-Z]{5}$/.test(code) && transientSqlStates.test(code)))) ||
    lost.test(text)
  ) {
    return new FluxError('UNAVAILABLE', `The database or a service did not answer (${text}). ${retryPromise}`, {
      cause,
    });
  }
  return new FluxError('INTERNAL', text, { cause });
}
