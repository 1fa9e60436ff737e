import { lookup } from 'node:dns/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';

import { hmacSha256 } from '../crypto/mac.ts';
import { checkWebhookAddress, hostOf, mayReach, type WebhookPolicy } from '../domain/webhook-address.ts';

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
 * Posts a message. Resolves a name once, checks what it resolved to, and connects to exactly that: a name that means something else a
 * moment later (DNS rebinding) is not asked again. Follows no redirect, which would lead past the check.
 *
 * @returns the status @throws what kept it from an answer
 */
export async function postWebhook(
  address: string,
  message: WebhookMessage,
  options: { policy: WebhookPolicy; timeoutMs: number; now?: Date },
): Promise<number> {
  const url = checkWebhookAddress(address, options.policy);
  const host = hostOf(url);
  const found = await lookup(host, { all: true, verbatim: true });
  const reachable = found.find((one) => mayReach(host, one.address, options.policy));
  if (!reachable || found.some((one) => !mayReach(host, one.address, options.policy))) {
    throw new Error(`${host} does not lead to public addresses alone.`);
  }
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const request = send(
      url,
      {
        method: 'POST',
        agent: false,
        // The certificate is for the name, the connection to what was checked.
        ...(isIP(host) === 0 ? { servername: host } : {}),
        lookup: (_hostname, lookupOptions, callback) => {
          if (lookupOptions.all) callback(null, [reachable]);
          else callback(null, reachable.address, reachable.family);
        },
        headers: {
          'content-type': 'application/cloudevents+json; charset=utf-8',
          'content-length': Buffer.byteLength(message.body),
          'user-agent': 'flux-webhooks/1',
          ...signedHeaders(message, options.now ?? new Date()),
        },
        signal: AbortSignal.timeout(options.timeoutMs),
      },
      (response) => {
        // Its text is the receiver's own affair, and may have no end.
        response.destroy();
        resolve(response.statusCode ?? 0);
      },
    );
    request.on('error', reject);
    request.end(message.body);
  });
}
