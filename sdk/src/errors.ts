import type { ErrorCode, ErrorTypename } from './generated/errors.ts';
import type { ErrorClass } from './generated/graphql.ts';

interface Named {
  /** One of docs/errors.md; a newer server may have codes that this version does not list. */
  readonly code: ErrorCode | (string & {});
  /** What was expected, what was found, what to do. */
  readonly message: string;
  /** Names this occurrence, in the server's log as well; empty when no server was reached. */
  readonly errorId: string;
  /** Whether the same request may succeed later. The client has tried again by then. */
  readonly retryable: boolean;
  readonly traceId: string | null;
}

export interface Issue {
  readonly path: string;
  readonly rule: string;
  readonly message: string;
}

/** What went wrong. `__typename` (or `class`) says which kind, and so what helps; `code` says what exactly. */
export type Problem =
  | (Named & {
      readonly __typename: 'ValidationError';
      readonly class: 'VALIDATION';
      readonly issues: readonly Issue[];
      readonly candidates: readonly string[];
    })
  | (Named & { readonly __typename: 'TransientError'; readonly class: 'TRANSIENT' })
  | (Named & { readonly __typename: 'TerminalError'; readonly class: 'TERMINAL' })
  | (Named & { readonly __typename: 'DataIsolationError'; readonly class: 'DATA_ISOLATION' })
  | (Named & { readonly __typename: 'CheckpointError'; readonly class: 'CHECKPOINT' })
  | (Named & { readonly __typename: 'AuthenticationError'; readonly class: 'AUTHENTICATION' })
  | (Named & { readonly __typename: 'AuthorizationError'; readonly class: 'AUTHORIZATION' });

/** Everything that the SDK throws. `problem` is a union to switch over: `switch (error.problem.__typename)`. */
export class FluxError extends Error {
  override readonly name: string = 'FluxError';
  readonly problem: Problem;

  constructor(problem: Problem, options: { cause?: unknown } = {}) {
    super(problem.message, options);
    this.problem = problem;
  }

  get code(): string {
    return this.problem.code;
  }

  get class(): ErrorClass {
    return this.problem.class;
  }

  get retryable(): boolean {
    return this.problem.retryable;
  }
}

export function isFluxError(value: unknown, code?: ErrorCode): value is FluxError {
  return value instanceof FluxError && (code === undefined || value.code === code);
}

/** A mutation's result without its errors. */
export type Success<Result> = Exclude<Result, { __typename: ErrorTypename }>;

/** What a mutation was asked for. @throws FluxError the result is one of its errors */
export function successOf<Result extends { __typename: string }>(result: Result): Success<Result> {
  if (isProblemType(result.__typename)) throw new FluxError(problemOf(result as unknown as WireProblem));
  return result as Success<Result>;
}

interface WireProblem {
  code?: string;
  class?: string;
  message?: string;
  errorId?: string;
  retryable?: boolean;
  traceId?: string | null;
  issues?: readonly Issue[] | null;
  candidates?: readonly string[] | null;
}

/** An entry of `errors`, as GraphQL sends it. */
export interface WireError {
  message: string;
  path?: readonly (string | number)[];
  extensions?: WireProblem;
}

const typenames: Record<ErrorClass, ErrorTypename> = {
  VALIDATION: 'ValidationError',
  TRANSIENT: 'TransientError',
  TERMINAL: 'TerminalError',
  DATA_ISOLATION: 'DataIsolationError',
  CHECKPOINT: 'CheckpointError',
  AUTHENTICATION: 'AuthenticationError',
  AUTHORIZATION: 'AuthorizationError',
};

function isProblemType(typename: string): boolean {
  return (Object.values(typenames) as string[]).includes(typename);
}

function problemOf(wire: WireProblem): Problem {
  const errorClass = (wire.class !== undefined && wire.class in typenames ? wire.class : 'TERMINAL') as ErrorClass;
  const named = {
    code: wire.code ?? 'INTERNAL',
    message: wire.message ?? 'The server gave no reason.',
    errorId: wire.errorId ?? '',
    retryable: wire.retryable ?? errorClass === 'TRANSIENT',
    traceId: wire.traceId ?? null,
    class: errorClass,
    __typename: typenames[errorClass],
  };
  const details = errorClass === 'VALIDATION' ? { issues: wire.issues ?? [], candidates: wire.candidates ?? [] } : {};
  return { ...named, ...details } as Problem;
}

/** @param status of the HTTP answer, for servers in between that know no GraphQL */
export function fromWire({ message, extensions = {} }: WireError, status = 200): FluxError {
  const guessed: WireProblem =
    status === 401
      ? { class: 'AUTHENTICATION', code: 'UNAUTHENTICATED' }
      : status === 403
        ? { class: 'AUTHORIZATION', code: 'FORBIDDEN' }
        : status === 429
          ? { class: 'VALIDATION', code: 'LIMIT_EXCEEDED' }
          : status >= 502 && status <= 504
            ? { class: 'TRANSIENT', code: 'UNAVAILABLE' }
            : status >= 400 && status < 500
              ? { class: 'VALIDATION', code: 'INVALID_INPUT' }
              : {};
  return new FluxError(problemOf({ ...guessed, ...extensions, message }));
}

/** Nothing answered, or the connection broke. */
export function unavailable(message: string, cause?: unknown): FluxError {
  return new FluxError(problemOf({ class: 'TRANSIENT', code: 'UNAVAILABLE', message }), { cause });
}

export function unauthenticated(message: string, cause?: unknown): FluxError {
  return new FluxError(problemOf({ class: 'AUTHENTICATION', code: 'UNAUTHENTICATED', message }), { cause });
}

/** What a subscription to such a run answers. */
export function unknownRun(runId: string): FluxError {
  const message = `There is no run ${runId} for this caller.`;
  return new FluxError(problemOf({ class: 'VALIDATION', code: 'NOT_FOUND', message }));
}
