import { isIP } from 'node:net';

import { FluxError } from '../errors.ts';
import { isPublicAddress } from '../network/public-address.ts';

/** Where webhooks may lead. */
export interface WebhookPolicy {
  /** http too: outside production only. */
  allowHttp: boolean;
  /** Hosts whose private addresses the operator allows, as they stand in addresses (FLUX_WEBHOOK_PRIVATE_HOSTS). */
  privateHosts: readonly string[];
}

const addressLengthMax = 2_000;

/**
 * The address of a webhook, checked as far as it says itself where it leads. Names are resolved when something is sent: only then is
 * it known, and only then does it count.
 *
 * @throws INVALID_INPUT
 */
export function checkWebhookAddress(text: string, policy: WebhookPolicy): URL {
  const refuse = (why: string): FluxError => new FluxError('INVALID_INPUT', `The webhook’s url ${why}.`);
  if (text.length > addressLengthMax || !URL.canParse(text))
    throw refuse('should be an address of at most 2000 characters');
  const url = new URL(text);
  const schemes = policy.allowHttp ? ['https:', 'http:'] : ['https:'];
  if (!schemes.includes(url.protocol)) throw refuse(`should begin with https: and begins with ${url.protocol}`);
  if (url.username !== '' || url.password !== '')
    throw refuse('holds a user or a password; requests are signed instead');
  if (url.hash !== '') throw refuse('has a fragment, which is never sent');
  const host = hostOf(url);
  if (isIP(host) !== 0 && !isPublicAddress(host) && !policy.privateHosts.includes(host.toLowerCase())) {
    throw refuse(`leads to ${host}, which is not public. The operator may allow it (FLUX_WEBHOOK_PRIVATE_HOSTS)`);
  }
  return url;
}

/** `[::1]` as `::1`. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1');
}
