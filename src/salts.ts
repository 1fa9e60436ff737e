import { hmacSha256 } from './crypto/mac.ts';
import { FluxError } from './errors.ts';

/** A salt that the platform's operator gave to several agencies, so that their records can be linked. */
export interface LinkageSalt {
  agencies: readonly string[];
  /** 32 bytes. */
  salt: Buffer;
}

/** The key that hashes an agency's identifiers under a salt's name: `agency`, or `linkage:NAME`. 32 bytes. */
export type SaltOf = (agency: string, name: string) => Buffer;

/**
 * Salts stand in the configuration of workers and nowhere else: whoever reads the database, or all of its backups, cannot try
 * identifiers against hashes.
 *
 * @param root FLUX_SALT_KEY, from which each agency's own follows; null where there is none
 * @returns throws KEY_UNAVAILABLE: there is no root, or the linkage does not name the agency, whether or not it exists
 */
export function saltsOf({
  root,
  linkage,
}: {
  root: () => Buffer | null;
  linkage: Readonly<Record<string, LinkageSalt>>;
}): SaltOf {
  return (agency, name) => {
    if (name === 'agency') {
      const key = root();
      if (key === null) {
        throw new FluxError(
          'KEY_UNAVAILABLE',
          'The pipeline hashes identifiers, and FLUX_SALT_KEY is missing. The platform’s operator makes one with: openssl rand -hex 32',
        );
      }
      return hmacSha256(key, 'identifiers of ', agency);
    }
    const shared = /^linkage:(.*)$/.exec(name)?.[1] ?? '';
    const found = Object.hasOwn(linkage, shared) ? linkage[shared] : undefined;
    if (!found?.agencies.includes(agency)) {
      throw new FluxError(
        'KEY_UNAVAILABLE',
        `Agency ${agency} has no salt "${name}". The platform’s operator names its agencies in FLUX_LINKAGE_SALTS.`,
      );
    }
    return hmacSha256(found.salt, 'identifiers');
  };
}
