import { jwtVerify } from 'jose';

import { fipsActive } from '../crypto/fips.ts';
import { FluxError, isFluxError } from '../errors.ts';
import { toPrincipal } from './claims.ts';
import { readCompactToken } from './compact-token.ts';
import type { Principal } from './principal.ts';
import { type Bearer, bearerOf, RefusedTokenError } from './refused-token.ts';
import { createTrust, type TrustOptions } from './trust.ts';

/** Asymmetric only: with an HMAC whoever verifies could also sign. The token's header never chooses among more than these. */
const algorithms = ['ES256', 'PS256', 'RS256', ...(fipsActive() ? [] : ['EdDSA'])];

const lifetimeSecondsMax = 3_600;

export type { IssuerRegistry, TrustedIssuer } from './trust.ts';

export interface AuthenticatorOptions extends TrustOptions {
  /** Told why a token was refused; the caller only learns that it was. */
  onRefused?: (reason: string) => void;
}

export interface Authenticator {
  /**
   * Verifies a token: its one spelling, signature, issuer, audience and claims.
   *
   * @param token the compact JWS, without `Bearer `
   * @throws UNAUTHENTICATED whatever is wrong with it; the message does not say what
   * @throws UNAVAILABLE the issuer's keys cannot be read now
   */
  authenticate(token: string): Promise<Principal>;
}

/** @throws CONFIG_INVALID an issuer's keys are not usable, or two issuers have one name */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { onRefused, now = Date.now } = options;
  const trustIn = createTrust(options);

  async function verify(token: string, signed: (bearer: Bearer | null) => void): Promise<Principal | string> {
    const read = readCompactToken(token);
    if (!read) return 'the token is not a compact JWS in its one spelling';
    if ('crit' in read.header) return 'the header names critical extensions';
    const issuer = read.claims['iss'];
    const trust = typeof issuer === 'string' ? await trustIn(issuer, read.claims['agency']) : null;
    if (typeof issuer !== 'string' || !trust) return 'the issuer is not trusted';
    const refused = await jwtVerify(token, trust.keys.find, {
      algorithms,
      issuer,
      audience: trust.audience,
      requiredClaims: ['iss', 'aud', 'exp', 'iat', 'sub', 'jti'],
      currentDate: new Date(now()),
      clockTolerance: 30,
    }).then(
      () => null,
      (cause: unknown) => {
        if (isFluxError(cause, 'UNAVAILABLE')) throw cause;
        if (isClaimFailure(cause)) signed(bearerOf(read.claims, trust.agencies));
        return cause instanceof Error ? cause.message : String(cause);
      },
    );
    if (refused !== null) return refused;
    signed(bearerOf(read.claims, trust.agencies));
    // The claims are those of the strict reader; jose has verified exactly these bytes.
    return toPrincipal(read.claims, {
      issuer,
      agencies: trust.agencies,
      lifetimeSecondsMax: options.environment === 'production' ? lifetimeSecondsMax : undefined,
      now: now() / 1000,
    });
  }

  return {
    async authenticate(token) {
      let bearer: Bearer | null = null;
      const result = await verify(token, (known) => (bearer = known));
      if (typeof result !== 'string') return result;
      onRefused?.(result);
      throw new RefusedTokenError(bearer);
    },
  };
}

/** jose looks at the claims only when the signature holds. */
function isClaimFailure(cause: unknown): boolean {
  return ['ERR_JWT_EXPIRED', 'ERR_JWT_CLAIM_VALIDATION_FAILED'].includes(String((cause as { code?: unknown }).code));
}

/** The token of an Authorization header. @throws UNAUTHENTICATED there is none, or it is of another scheme */
export function bearerToken(header: string | undefined): string {
  const token = header === undefined ? undefined : /^Bearer ([^\s]+)$/i.exec(header)?.[1];
  if (token === undefined) {
    throw new FluxError(
      'UNAUTHENTICATED',
      'Send the header `Authorization: Bearer <token>`; on a development machine `flux token` makes one.',
    );
  }
  return token;
}
