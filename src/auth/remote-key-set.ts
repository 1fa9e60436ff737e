/**
 * An issuer's key set behind a URL.
 *
 * Empty: nothing was fetched. Held: it is fetched again behind the back of whoever asks when it is five minutes old, so that a key
 * which the issuer takes back is not good for long, and at once for a token whose `kid` is unknown, but at most every 30 seconds:
 * a thousand invented kids cost two requests. A set that cannot be fetched again stays good until it is an hour old and then fails
 * closed.
 */
import { errors, type JWTVerifyGetKey } from 'jose';

import { FluxError } from '../errors.ts';
import { type KeySet, staticKeySet } from './key-set.ts';

const cooldownMs = 30_000;
const freshMs = 300_000;
const ageMaxMs = 3_600_000;
const fetchMs = 5_000;
const byteCountMax = 65_536;

export interface RemoteKeySetOptions {
  url: string;
  /** Plain http, for an issuer on a development machine. */
  allowHttp: boolean;
  fetch?: typeof globalThis.fetch;
  /** Milliseconds since 1970. */
  now?: () => number;
}

/** @throws CONFIG_INVALID at once when the URL is not https */
export function remoteKeySet(options: RemoteKeySetOptions): KeySet {
  const { fetch = globalThis.fetch, now = Date.now } = options;
  const url = requireKeySetUrl(options.url, options);
  let held: { keys: KeySet; fetchedAt: number } | null = null;
  let triedAt = -Infinity;
  let running: Promise<void> | null = null;

  /** Fetches unless that happened a moment ago. Many callers share one request. */
  function refresh(): Promise<void> {
    if (running) return running;
    if (now() - triedAt < cooldownMs) return Promise.resolve();
    triedAt = now();
    running = fetchKeySet(fetch, url)
      .then((keys) => {
        held = { keys, fetchedAt: now() };
      })
      .finally(() => {
        running = null;
      });
    return running;
  }

  const find: JWTVerifyGetKey = async (header, token) => {
    if (!held || now() - held.fetchedAt > ageMaxMs) {
      held = null;
      await refresh();
    }
    const current = held;
    if (current && now() - current.fetchedAt > freshMs) void refresh().catch(() => undefined);
    if (!current)
      throw new FluxError('UNAVAILABLE', 'The issuer’s keys cannot be read now. Try again in half a minute.');
    try {
      return await current.keys.find(header, token);
    } catch (cause) {
      if (!(cause instanceof errors.JWKSNoMatchingKey)) throw cause;
      await refresh().catch(() => undefined);
      return ((held as { keys: KeySet } | null) ?? current).keys.find(header, token);
    }
  };
  return { find };
}

/** @throws CONFIG_INVALID it is no address, or not of https */
export function requireKeySetUrl(text: string, { allowHttp }: { allowHttp: boolean }): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === 'https:' || (allowHttp && url?.protocol === 'http:')) return url;
  throw new FluxError(
    'CONFIG_INVALID',
    `The key set of an issuer is fetched by https; ${url?.href ?? JSON.stringify(text)} is not. Change jwksUri.`,
  );
}

/** Fetches it once. @throws CONFIG_INVALID not https; UNAVAILABLE it cannot be read, with the cause */
export function readKeySet(url: string, options: { allowHttp: boolean }): Promise<KeySet> {
  return fetchKeySet(globalThis.fetch, requireKeySetUrl(url, options));
}

async function fetchKeySet(fetch: typeof globalThis.fetch, url: URL): Promise<KeySet> {
  try {
    const response = await fetch(url, {
      redirect: 'error',
      signal: AbortSignal.timeout(fetchMs),
      headers: { accept: 'application/jwk-set+json, application/json' },
    });
    if (!response.ok) throw new Error(`status ${String(response.status)}`);
    const value = JSON.parse(await limitedText(response)) as { keys?: unknown };
    if (!Array.isArray(value.keys)) throw new Error('no "keys"');
    return staticKeySet({ keys: value.keys });
  } catch (cause) {
    throw new FluxError('UNAVAILABLE', `The key set ${url.href} could not be read.`, { cause });
  }
}

async function limitedText(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  const chunks: Uint8Array[] = [];
  let byteCount = 0;
  for (let step = await reader?.read(); step?.value; step = await reader?.read()) {
    byteCount += step.value.byteLength;
    if (byteCount > byteCountMax) {
      await reader?.cancel();
      throw new Error(`more than ${String(byteCountMax)} bytes`);
    }
    chunks.push(step.value);
  }
  return Buffer.concat(chunks).toString('utf8');
}
