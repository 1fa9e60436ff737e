import { BlockList, isIP } from 'node:net';

import { FluxError } from '../errors.ts';

/** Where webhooks may lead. */
export interface WebhookPolicy {
  /** http too: outside production only. */
  allowHttp: boolean;
  /** Hosts whose private addresses the operator allows, as they stand in addresses (FLUX_WEBHOOK_PRIVATE_HOSTS). */
  privateHosts: readonly string[];
}

const addressLengthMax = 2_000;

/** What no stranger on the internet has: loopback, private, link-local (also the cloud's metadata), shared, test, multicast, reserved. */
const notPublic = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  notPublic.addSubnet(network, prefix, 'ipv4');
}
/** Of IPv6 only global unicast may be public; of it not what stands for IPv4 (6to4, NAT64, Teredo) nor documentation. */
const global = new BlockList();
global.addSubnet('2000::', 3, 'ipv6');
const notGlobal = new BlockList();
for (const [network, prefix] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  notGlobal.addSubnet(network, prefix, 'ipv6');
}

/** Whether an address is one that anybody may have. */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 4) return !notPublic.check(address, 'ipv4');
  return isIP(address) === 6 && global.check(address, 'ipv6') && !notGlobal.check(address, 'ipv6');
}

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
  if (isIP(host) !== 0 && !mayReach(host, host, policy)) {
    throw refuse(`leads to ${host}, which is not public. The operator may allow it (FLUX_WEBHOOK_PRIVATE_HOSTS)`);
  }
  return url;
}

/** Whether an address that `host` resolved to may be connected to. */
export function mayReach(host: string, address: string, { privateHosts }: WebhookPolicy): boolean {
  return isPublicAddress(address) || privateHosts.includes(host.toLowerCase());
}

/** `[::1]` as `::1`. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1');
}
