import type { TypedDocument } from './document.ts';
import { FluxError, fromWire, unavailable, type WireError } from './errors.ts';
import type { Settings } from './settings.ts';
import { backoffMs, wait } from './wait.ts';

/** Tries of one request, the first included. */
const triesMax = 4;

interface WireResult {
  data?: Record<string, unknown> | null;
  errors?: readonly WireError[];
}

/**
 * Runs a query or mutation over HTTP. Tries again what may pass by itself (nothing answers, 429, 503, a retryable error), each time
 * with the same variables, and once more with another token when the server refuses the first.
 *
 * @returns the value of the root field, or all data where none is named @throws FluxError
 */
export async function execute(
  settings: Settings,
  document: TypedDocument<unknown, unknown>,
  variables: unknown,
  root: string | null,
  signal?: AbortSignal,
): Promise<unknown> {
  let refusedOnce = false;
  for (let tries = 1; ; tries += 1) {
    const token = await settings.token.current();
    try {
      const value = await post(settings, token, { document, variables, root }, signal);
      if (!isRetryableResult(value) || tries >= triesMax) return value;
      await wait(backoffMs(tries), signal);
    } catch (cause) {
      signal?.throwIfAborted();
      if (!(cause instanceof FluxError)) throw cause;
      if (cause.class === 'AUTHENTICATION' && !refusedOnce) {
        refusedOnce = true;
        await settings.token.replace(token);
      } else if (tries < triesMax && mayPass(cause)) await wait(retryAfterMs(cause) ?? backoffMs(tries), signal);
      else throw cause;
    }
    signal?.throwIfAborted();
  }
}

/** Runs a query over HTTP with one try and little patience: for whoever tries again in a way of its own. @throws FluxError */
export async function executeOnce<R, V, K extends keyof R & string>(
  settings: Settings,
  document: TypedDocument<R, V>,
  variables: V,
  root: K,
  { signal, used }: { signal: AbortSignal; used(token: string): void },
): Promise<R[K]> {
  const token = await settings.token.current();
  used(token);
  // The server ends what takes longer.
  const late = AbortSignal.timeout(10_000);
  const asked = { document: document as TypedDocument<unknown, unknown>, variables, root };
  return (await post(settings, token, asked, AbortSignal.any([signal, late]))) as R[K];
}

/** What may pass by itself: a service away for a moment, or more requests at once than the agency may send. */
export function mayPass(error: FluxError): boolean {
  return error.retryable || (error.code === 'LIMIT_EXCEEDED' && retryAfter.has(error));
}

/** A mutation answers what it expects to go wrong, and one of that is TransientError. */
function isRetryableResult(value: unknown): boolean {
  return typeof value === 'object' && value !== null && '__typename' in value && value.__typename === 'TransientError';
}

const retryAfter = new WeakMap<FluxError, number>();

function retryAfterMs(error: FluxError): number | undefined {
  return retryAfter.get(error);
}

interface Asked {
  document: TypedDocument<unknown, unknown>;
  variables: unknown;
  root: string | null;
}

async function post(settings: Settings, token: string, asked: Asked, signal?: AbortSignal): Promise<unknown> {
  const timeout = AbortSignal.timeout(settings.requestTimeoutMs);
  let response: Response;
  let result: WireResult | undefined;
  try {
    response = await settings.fetch(settings.endpoint, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/graphql-response+json, application/json;q=0.9',
      },
      body: JSON.stringify(settings.bodyOf(asked.document, asked.variables)),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    result = (await response.json().catch(() => undefined)) as WireResult | undefined;
  } catch (cause) {
    throw unavailable(`No Flux API answers at ${new URL(settings.endpoint).origin}.`, cause);
  }
  try {
    return valueOf(result, asked.root, response.status);
  } catch (cause) {
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
    if (cause instanceof FluxError && seconds >= 0 && seconds <= 60) retryAfter.set(cause, seconds * 1_000);
    throw cause;
  }
}

/** The root field's value. What a role may not read is null inside it; any other error fails the whole. @throws FluxError */
export function valueOf(result: WireResult | undefined, root: string | null, status = 200): unknown {
  const errors = result?.errors ?? [];
  const value = root === null ? (result?.data ?? undefined) : result?.data?.[root];
  const masked = errors.length > 0 && errors.every(({ path, extensions }) => isMask(path, extensions?.code));
  if (errors[0] && !(masked && value !== undefined && value !== null)) throw fromWire(errors[0], status);
  if (value === undefined) {
    const message = `The API answered ${String(status)} without data. Is that address a Flux API?`;
    throw status >= 500 ? unavailable(message) : fromWire({ message }, status === 200 ? 500 : status);
  }
  return value;
}

function isMask(path: WireError['path'], code: string | undefined): boolean {
  return code === 'FORBIDDEN' && path !== undefined && path.length > 1;
}
