import { type Client, createClient } from 'graphql-ws';

import { type ErrorCode, errorCodes, type ErrorDetails, FluxError } from '../errors.ts';

/** The API as a client sees it: the commands reach runs and definitions this way only, never through the database. */
export interface ApiClient {
  /** `http://127.0.0.1:4000` */
  readonly url: string;
  /**
   * Runs a query or mutation and returns its data.
   *
   * @throws the FluxError that the API answered with; UNAVAILABLE when it does not answer
   */
  request<T>(document: string, variables?: Record<string, unknown>): Promise<T>;
  /**
   * Runs a subscription. The iteration ends with the stream, or when `signal` aborts.
   *
   * @throws the FluxError that the API answered with; UNAVAILABLE when the connection breaks (follow on from the last cursor)
   */
  subscribe<T>(document: string, variables: Record<string, unknown>, signal?: AbortSignal): AsyncIterable<T>;
  close(): Promise<void>;
}

const requestTimeoutMs = 30_000;

interface WireError {
  message: string;
  extensions?: { code?: string; errorId?: string } & ErrorDetails;
}

interface WireResult<T> {
  data?: T | null;
  errors?: readonly WireError[];
}

export function createApiClient({ url, token }: { url: string; token: string }): ApiClient {
  const endpoint = new URL('/v1/graphql', url).href;
  const authorization = `Bearer ${token}`;
  let sockets: Client | undefined;
  return {
    url,
    async request<T>(document: string, variables: Record<string, unknown> = {}) {
      const response = await post(endpoint, authorization, { query: document, variables });
      return dataOf<T>((await response.json().catch(() => undefined)) as WireResult<T> | undefined, response.status);
    },
    async *subscribe<T>(document: string, variables: Record<string, unknown>, signal?: AbortSignal) {
      if (signal?.aborted) return;
      sockets ??= createClient({
        url: endpoint.replace(/^http/, 'ws'),
        connectionParams: { authorization },
        retryAttempts: 0,
      });
      const results = sockets.iterate<T>({ query: document, variables });
      const abort = (): void => void results.return?.();
      signal?.addEventListener('abort', abort, { once: true });
      try {
        for await (const result of results) yield dataOf<T>(result as WireResult<T>, 200);
      } catch (cause) {
        if (!signal?.aborted) throw toSocketError(cause, url);
      } finally {
        signal?.removeEventListener('abort', abort);
      }
    },
    async close() {
      await sockets?.dispose();
    },
  };
}

/** The success branch of a mutation's result; its error branch is thrown. Select `... on Error { code message }` of it. */
export function successOf<T extends { __typename: string }>(result: T): T {
  const { code, message } = result as { code?: string; message?: string };
  if (code === undefined || message === undefined || !isCode(code)) return result;
  const { issues, candidates } = result as ErrorDetails;
  throw new FluxError(code, message, {
    details: { ...(issues ? { issues } : {}), ...(candidates ? { candidates } : {}) },
  });
}

async function post(endpoint: string, authorization: string, body: object): Promise<Response> {
  try {
    return await fetch(endpoint, {
      method: 'POST',
      headers: {
        authorization,
        'content-type': 'application/json',
        accept: 'application/graphql-response+json, application/json;q=0.9',
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(requestTimeoutMs),
    });
  } catch (cause) {
    throw unreachable(endpoint, cause);
  }
}

function dataOf<T>(result: WireResult<T> | undefined, status: number): T {
  const error = result?.errors?.[0];
  if (error) throw toError(error, status);
  if (result?.data === undefined || result.data === null) {
    throw new FluxError('UNAVAILABLE', `The API answered ${String(status)} without data. Is that address a Flux API?`);
  }
  return result.data;
}

function toError({ message, extensions = {} }: WireError, status: number): FluxError {
  const { code, errorId, issues, candidates } = extensions;
  const known: ErrorCode = isCode(code)
    ? code
    : status === 401
      ? 'UNAUTHENTICATED'
      : status === 400
        ? 'INVALID_INPUT'
        : 'INTERNAL';
  const details = {
    ...(errorId ? { errorId } : {}),
    ...(issues ? { issues } : {}),
    ...(candidates ? { candidates } : {}),
  };
  return new FluxError(known, message, { details });
}

function isCode(code: string | undefined): code is ErrorCode {
  return code !== undefined && Object.hasOwn(errorCodes, code);
}

/** graphql-ws throws the close event of the socket, an array of GraphQL errors, or an Error. */
function toSocketError(cause: unknown, url: string): FluxError {
  if (cause instanceof FluxError) return cause;
  if (Array.isArray(cause) && cause.length > 0) return toError(cause[0] as WireError, 200);
  const { code, reason } = cause as { code?: number; reason?: string };
  if (code === 4401 || code === 4403)
    return new FluxError('UNAUTHENTICATED', reason ?? 'The token was refused.', { cause });
  return unreachable(url, cause);
}

function unreachable(url: string, cause: unknown): FluxError {
  const { origin } = new URL(url);
  return new FluxError(
    'UNAVAILABLE',
    `No Flux API answers at ${origin}. Start one with flux up, or say where it is with --url.`,
    { cause },
  );
}
