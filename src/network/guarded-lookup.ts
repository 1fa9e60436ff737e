import { lookup, type LookupAddress, type LookupAllOptions } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';

import { isPublicAddress } from './public-address.ts';

export type ResolveName = (
  hostname: string,
  options: LookupAllOptions,
  callback: (cause: NodeJS.ErrnoException | null, found: LookupAddress[]) => void,
) => void;

/** A host that must not be connected to. */
export class AddressRefused extends Error {
  override readonly name = 'AddressRefused';
  readonly code = 'ADDRESS_REFUSED';
}

/** `[::1]` as `::1`; in lower case, without the dot at its end. */
export function plainHost(host: string): string {
  return host
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/[.]$/, '')
    .toLowerCase();
}

/**
 * Looks names up for a connection, and gives only what may be connected to: as the socket connects to exactly that, a name which
 * means something else a moment later (DNS rebinding) is not asked again. A name with one forbidden address is refused as a whole.
 *
 * @param privateHosts hosts whose private addresses the operator allows
 * @param resolve what answers for names: the system's own resolver unless told
 */
export function guardedLookup(privateHosts: readonly string[], resolve: ResolveName = lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true, order: 'verbatim' }, (cause, found) => {
      if (cause) {
        callback(cause, []);
        return;
      }
      if (!privateHosts.includes(plainHost(hostname)) && found.some(({ address }) => !isPublicAddress(address))) {
        callback(new AddressRefused(`${hostname} does not lead to public addresses alone`), []);
        return;
      }
      const [first] = found;
      if (options.all) callback(null, found);
      else callback(null, first?.address ?? '', first?.family);
    });
  };
}

/** A host that is an address is connected to without a look-up, so it is checked by itself. @throws AddressRefused */
export function requireReachable(host: string, privateHosts: readonly string[]): void {
  const plain = plainHost(host);
  if (isIP(plain) === 0 || isPublicAddress(plain) || privateHosts.includes(plain)) return;
  throw new AddressRefused(`${plain} is no public address`);
}
