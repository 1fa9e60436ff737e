import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';

import { hmacSha256 } from '../crypto/mac.ts';
import { checkWebhookAddress, hostOf, type WebhookPolicy } from '../domain/webhook-address.ts';
import { guardedLookup, type ResolveName } from '../network/guarded-lookup.ts';

export interface WebhookMessage {
  id: string;
  /** CloudEvents 1.0 in JSON, structured mode. */
  body: string;
  /** The newest first. */
  secrets: readonly Buffer[];
}

/** The headers of Standard Webhooks: an HMAC-SHA-256 of id, time and body for each secret that is valid now. */
export function signedHeaders({ id, body, secrets }: WebhookMessage, now: Date): Record<string, string> {
  const timestamp = String(Math.floor(now.getTime() / 1_000));
  const signatures = secrets.map(
    (secret) => `v1,${hmacSha256(secret, `${id}.${timestamp}.${body}`).toString('base64')}`,
  );
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') };
}

/**
 * Posts a message. A name is looked up once, and the connection goes to exactly what was checked (`guardedLookup`); the certificate
 * must be for the name. Follows no redirect, which would lead past the check.
 *
 * @returns the status @throws what kept it from an answer: ADDRESS_REFUSED, a code of the system, of DNS or of TLS, a TimeoutError
 */
export async function postWebhook(
  address: string,
  message: WebhookMessage,
  options: { policy: WebhookPolicy; timeoutMs: number; now?: Date; resolve?: ResolveName },
): Promise<number> {
  // An address that is none of a name is checked here: no look-up is made of it.
  const url = checkWebhookAddress(address, options.policy);
  const host = hostOf(url);
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const signal = AbortSignal.timeout(options.timeoutMs);
  return new Promise((resolve, reject) => {
    const request = send(
      url,
      {
        method: 'POST',
        agent: false,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        lookup: guardedLookup(options.policy.privateHosts, options.resolve),
        headers: {
          'content-type': 'application/cloudevents+json; charset=utf-8',
          'content-length': Buffer.byteLength(message.body),
          'user-agent': 'flux-webhooks/1',
          ...signedHeaders(message, options.now ?? new Date()),
        },
        signal,
      },
      (response) => {
        // Its text is the receiver's own affair, and may have no end.
        response.destroy();
        resolve(response.statusCode ?? 0);
      },
    );
    // Of its time's end the request says only that it was aborted.
    request.on('error', (cause) => reject(signal.aborted ? (signal.reason as Error) : cause));
    request.end(message.body);
  });
}
