import { type IncomingMessage, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';

import { AddressRefused, guardedLookup, plainHost, requireReachable } from '../../network/guarded-lookup.ts';
import { invalidSource, unavailableSource } from '../refusals.ts';

/** Where requests may lead, and how long an answer may be silent. */
export interface RequestPolicy {
  /** Hosts whose private addresses, and whose plain http, the operator allows the agency. */
  privateHosts: readonly string[];
  /** Further certificate authorities, PEM. */
  ca?: string | undefined;
  /** Milliseconds without a byte. */
  silenceMs: number;
}

/**
 * Sends one GET and gives the answer as it begins. Follows nothing. The address that is connected to is the one that was checked.
 *
 * @param shown the address for people: without secrets
 * @throws SOURCE_INVALID the address is not one that may be reached
 * @throws SOURCE_UNAVAILABLE there was no answer
 */
export async function guardedGet(
  url: URL,
  shown: string,
  {
    headers,
    policy,
    signal,
  }: { headers: Readonly<Record<string, string>>; policy: RequestPolicy; signal: AbortSignal },
): Promise<IncomingMessage> {
  const host = plainHost(url.hostname);
  requireScheme(url, shown, policy);
  try {
    requireReachable(host, policy.privateHosts);
    return await send(url, host, { headers, policy, signal });
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof AddressRefused) {
      throw invalidSource(
        `${shown} must not be reached: ${cause.message}. If it should be, the operator allows the host (FLUX_SOURCE_PRIVATE_HOSTS).`,
        cause,
      );
    }
    throw unavailableSource(`${shown} does not answer (${codeOf(cause)}). Flux tries again.`, cause);
  }
}

function requireScheme(url: URL, shown: string, { privateHosts }: RequestPolicy): void {
  if (url.protocol === 'https:') return;
  if (url.protocol === 'http:' && privateHosts.includes(plainHost(url.hostname))) return;
  throw invalidSource(
    `${shown} is no https address. Plain http is for hosts that the operator allows (FLUX_SOURCE_PRIVATE_HOSTS).`,
  );
}

function send(
  url: URL,
  host: string,
  {
    headers,
    policy,
    signal,
  }: { headers: Readonly<Record<string, string>>; policy: RequestPolicy; signal: AbortSignal },
): Promise<IncomingMessage> {
  const open = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const request = open(
      url,
      {
        method: 'GET',
        agent: false,
        lookup: guardedLookup(policy.privateHosts),
        // The certificate is for the name, the connection to what was checked.
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ...(policy.ca === undefined ? {} : { ca: policy.ca }),
        headers: { 'user-agent': 'flux-sources/1', 'accept-encoding': 'identity', ...headers },
        signal,
      },
      resolve,
    );
    request.setTimeout(policy.silenceMs, () => {
      request.destroy(Object.assign(new Error('silent for too long'), { code: 'ETIMEDOUT' }));
    });
    request.on('error', reject);
    request.end();
  });
}

function codeOf(cause: unknown): string {
  const { code, message } = cause as { code?: unknown; message?: unknown };
  return typeof code === 'string' ? code : String(message);
}
