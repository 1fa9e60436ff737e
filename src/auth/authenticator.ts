import { jwtVerify } from 'jose';

import { fipsActive } from '../crypto/fips.ts';
import { FluxError, isFluxError } from '../errors.ts';
import { type ClaimRules, toPrincipal } from './claims.ts';
import { readCompactToken } from './compact-token.ts';
import { type KeySet, staticKeySet } from './key-set.ts';
import type { Principal } from './principal.ts';
import { type Bearer, bearerOf, RefusedTokenError } from './refused-token.ts';
import { remoteKeySet } from './remote-key-set.ts';

/** Asymmetric only: with an HMAC whoever verifies could also sign. The token's header never chooses among more than these. */
const algorithms = ['ES256', 'PS256', 'RS256', ...(fipsActive() ? [] : ['EdDSA'])];

const lifetimeSecondsMax = 3_600;

/** A trusted issuer, as FLUX_ISSUERS lists it. */
export interface TrustedIssuer {
  /** The exact `iss`. */
  issuer: string;
  jwksUri?: string;
  jwks?: { keys: readonly Record<string, unknown>[] };
  /** The `aud` of its tokens, where it differs from everyone's. */
  audience?: string;
  /** The agencies that it may speak for. */
  agencies: readonly string[];
}

export interface AuthenticatorOptions {
  environment: 'development' | 'production';
  issuers: readonly TrustedIssuer[];
  /** The `aud` that a token must carry. */
  audience: string;
  /** The development machine's own issuer, which may speak for every agency; it does not exist in production. */
  localIssuer?: { issuer: string; jwks: { keys: readonly unknown[] } };
  /** Told why a token was refused; the caller only learns that it was. */
  onRefused?: (reason: string) => void;
  /** Milliseconds since 1970. */
  now?: () => number;
  fetch?: typeof globalThis.fetch;
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

interface Trust {
  keys: KeySet;
  audience: string;
  agencies: ClaimRules['agencies'];
}

/** @throws CONFIG_INVALID an issuer's keys are not usable, or two issuers have one name */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { onRefused, now = Date.now } = options;
  const trusted = trustOf(options);

  async function verify(token: string, signed: (bearer: Bearer | null) => void): Promise<Principal | string> {
    const read = readCompactToken(token);
    if (!read) return 'the token is not a compact JWS in its one spelling';
    if ('crit' in read.header) return 'the header names critical extensions';
    const issuer = read.claims['iss'];
    const trust = typeof issuer === 'string' ? trusted.get(issuer) : undefined;
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

function trustOf(options: AuthenticatorOptions): Map<string, Trust> {
  const { environment, issuers, audience, localIssuer, now, fetch } = options;
  const trusted = new Map<string, Trust>();
  const add = (issuer: string, trust: Trust): void => {
    if (trusted.has(issuer)) throw new FluxError('CONFIG_INVALID', `The issuer ${issuer} is listed twice. Keep one.`);
    trusted.set(issuer, trust);
  };
  for (const { issuer, jwks, jwksUri, audience: own = audience, agencies } of issuers) {
    const keys = jwks
      ? staticKeySet(jwks)
      : remoteKeySet({
          url: jwksUri ?? '',
          allowHttp: environment === 'development',
          ...(now ? { now } : {}),
          ...(fetch ? { fetch } : {}),
        });
    add(issuer, { keys, audience: own, agencies });
  }
  if (localIssuer && environment === 'production') {
    throw new FluxError('CONFIG_INVALID', 'The local issuer is for development only. Set FLUX_ISSUERS.');
  }
  if (localIssuer) add(localIssuer.issuer, { keys: staticKeySet(localIssuer.jwks), audience, agencies: '*' });
  return trusted;
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
