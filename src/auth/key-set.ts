import { createLocalJWKSet, type JSONWebKeySet, type JWK, type JWTVerifyGetKey } from 'jose';

import { FluxError } from '../errors.ts';

/** Where an issuer's public keys come from. `find` is what jose asks for the key of a token. */
export interface KeySet {
  find: JWTVerifyGetKey;
}

const rsaBitsMin = 2_048;
const rsaExponent = 'AQAB'; // 65,537

/**
 * Keys that are given once. A key jose would take but that proves nothing is refused here: a short or odd RSA modulus, and a
 * symmetric one, which whoever can read the set could sign with.
 *
 * @throws CONFIG_INVALID naming the key
 */
export function staticKeySet(jwks: { keys: readonly unknown[] }): KeySet {
  const keys = jwks.keys as readonly JWK[];
  if (keys.length === 0) throw unfit('it has no key');
  keys.forEach((key, i) => requireFit(key, key.kid ?? `number ${String(i + 1)}`));
  return { find: createLocalJWKSet({ keys: [...keys] } satisfies JSONWebKeySet) };
}

function requireFit(key: JWK, name: string): void {
  if (key.d !== undefined || key.k !== undefined || key.kty === 'oct')
    throw unfit(`the key ${name} is secret or symmetric`);
  if (key.kty === 'RSA') {
    if (Buffer.from(key.n ?? '', 'base64url').length * 8 < rsaBitsMin)
      throw unfit(`the RSA key ${name} has fewer than 2,048 bits`);
    if (key.e !== rsaExponent) throw unfit(`the RSA key ${name} has an exponent other than 65,537`);
  } else if (key.kty !== 'EC' && key.kty !== 'OKP') {
    throw unfit(`the key ${name} is of the unknown type ${String(key.kty)}`);
  }
}

function unfit(what: string): FluxError {
  return new FluxError(
    'CONFIG_INVALID',
    `A key set is not usable: ${what}. Use RSA of 2,048 bits or more, P-256 or Ed25519 public keys.`,
  );
}
