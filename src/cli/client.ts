import { createFlux, type Flux, FluxError as SdkError, successOf as sdkSuccessOf, type Success } from '#sdk';
import { type ErrorCode, errorCodes, FluxError } from '../errors.ts';
import { activePlace, traceparentOf } from '../telemetry/tracing.ts';

/** The API as the commands see it: the SDK, and never the database. Its failures arrive as the commands' own FluxErrors. */
export interface ApiClient {
  /** `http://127.0.0.1:4000` */
  readonly url: string;
  readonly flux: Flux;
  close(): Promise<void>;
}

export function createApiClient({ url, token }: { url: string; token: string }): ApiClient {
  const flux = createFlux({ url, token, fetch: tracedFetch });
  return {
    url,
    flux,
    close: () => Promise.resolve(flux.close()),
  };
}

/** The API's spans are children of the command's. */
const tracedFetch: typeof fetch = (input, init) => {
  const place = activePlace();
  if (!place) return fetch(input, init);
  const headers = new Headers(init?.headers);
  headers.set('traceparent', traceparentOf(place));
  return fetch(input, { ...init, headers });
};

/** The success branch of a mutation's result; its error branch is thrown. Select `__typename` and the fields of `Error` of it. */
export function successOf<T extends { __typename: string }>(result: T): Success<T> {
  try {
    return sdkSuccessOf(result);
  } catch (cause) {
    throw toCommandError(cause);
  }
}

/** Runs `work` with the API's failures in the commands' words. */
export async function named<T>(url: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw toCommandError(cause, url);
  }
}

function toCommandError(cause: unknown, url?: string): unknown {
  if (!(cause instanceof SdkError)) return cause;
  const { problem } = cause;
  if (problem.code === 'UNAVAILABLE' && problem.errorId === '' && url !== undefined) {
    const { origin } = new URL(url);
    const message = `No Flux API answers at ${origin}. Start one with flux up, or say where it is with --url.`;
    return new FluxError('UNAVAILABLE', message, { cause });
  }
  const code: ErrorCode = Object.hasOwn(errorCodes, problem.code) ? (problem.code as ErrorCode) : 'INTERNAL';
  const { errorId } = problem;
  const validation = problem.__typename === 'ValidationError' ? problem : undefined;
  const details = {
    ...(errorId === '' ? {} : { errorId }),
    ...(validation?.issues.length ? { issues: validation.issues } : {}),
    ...(validation?.candidates.length ? { candidates: validation.candidates } : {}),
  };
  return new FluxError(code, problem.message, { details, cause });
}
