import { getFips } from 'node:crypto';

import { FluxError } from '../errors.ts';

/** Whether this process computes with OpenSSL's FIPS provider; then only approved algorithms may be used. */
export function fipsActive(): boolean {
  return getFips() === 1;
}

/** What is wrong with asking for FIPS mode in this process; undefined when it is active. */
export function fipsProblem(): string | undefined {
  if (fipsActive()) return undefined;
  return (
    'FLUX_FIPS is 1, and this Node computes without OpenSSL’s FIPS provider (crypto.getFips() is 0). Start a Node that has it, ' +
    'with --enable-fips or an OpenSSL configuration that makes it the default, or unset FLUX_FIPS'
  );
}

/** @throws CONFIG_INVALID in FIPS mode */
export function refuseUnapproved(algorithm: string, instead: string): void {
  if (!fipsActive()) return;
  throw new FluxError('CONFIG_INVALID', `${algorithm} is not to be had in FIPS mode. ${instead}`);
}
