import { FluxError } from '../errors.ts';
import { type KeySet, staticKeySet } from './key-set.ts';
import { remoteKeySet } from './remote-key-set.ts';

/** A trusted issuer, as FLUX_ISSUERS or the registry lists it. */
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

/**
 * The registered issuers that may speak for an agency, however little is known of who asks: the agency is what a token claims
 * before anything of it is proved.
 *
 * @throws UNAVAILABLE they cannot be found out now
 */
export type IssuerRegistry = (agency: string) => Promise<readonly TrustedIssuer[]>;

/** What a token of an issuer is held against. */
export interface Trust {
  keys: KeySet;
  audience: string;
  agencies: readonly string[] | '*';
}

export interface TrustOptions {
  environment: 'development' | 'production';
  /** Those of the configuration. */
  issuers: readonly TrustedIssuer[];
  /** The `aud` that a token must carry. */
  audience: string;
  /** Those that are registered besides. */
  registry?: IssuerRegistry;
  /** The development machine's own issuer, which may speak for every agency; it does not exist in production. */
  localIssuer?: { issuer: string; jwks: { keys: readonly unknown[] } };
  /** Milliseconds since 1970. */
  now?: () => number;
  fetch?: typeof globalThis.fetch;
}

const keySetsMax = 1_000;
const slug = /^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$/;

/**
 * Finds what a token that names an issuer and an agency is held against: the configuration's word, or else the registry's, whose
 * changes count at once. Null when nobody trusts that issuer, be it for this agency or at all.
 *
 * @throws CONFIG_INVALID at once, when an issuer's keys are not usable or two of the configuration have one name
 */
export function createTrust(options: TrustOptions): (issuer: string, agency: unknown) => Promise<Trust | null> {
  const { audience, registry } = options;
  const configured = trustOf(options);
  // Fetched keys outlive a look into the registry, and two agencies with one issuer share them.
  const keySets = new Map<string, KeySet>();
  const keysOf = (issuer: TrustedIssuer): KeySet => {
    const id = JSON.stringify([issuer.issuer, issuer.jwksUri ?? issuer.jwks]);
    const keys = keySets.get(id) ?? keySetOf(issuer, options);
    if (keySets.size >= keySetsMax) keySets.delete(keySets.keys().next().value as string);
    keySets.set(id, keys);
    return keys;
  };
  return async (name, agency) => {
    const trust = configured.get(name);
    const speaksFor = typeof agency === 'string' && (trust?.agencies === '*' || trust?.agencies.includes(agency));
    if (trust && (speaksFor || !registry)) return trust;
    if (!registry || typeof agency !== 'string' || !slug.test(agency)) return trust ?? null;
    const registered = (await registry(agency)).find(({ issuer }) => issuer === name);
    if (!registered) return trust ?? null;
    return { keys: keysOf(registered), audience: registered.audience ?? audience, agencies: registered.agencies };
  };
}

function trustOf(options: TrustOptions): Map<string, Trust> {
  const { environment, issuers, audience, localIssuer } = options;
  const trusted = new Map<string, Trust>();
  for (const issuer of issuers) {
    if (trusted.has(issuer.issuer)) {
      throw new FluxError('CONFIG_INVALID', `The issuer ${issuer.issuer} is listed twice. Keep one.`);
    }
    const keys = keySetOf(issuer, options);
    trusted.set(issuer.issuer, { keys, audience: issuer.audience ?? audience, agencies: issuer.agencies });
  }
  if (!localIssuer) return trusted;
  if (environment === 'production') {
    throw new FluxError('CONFIG_INVALID', 'The local issuer is for development only. Set FLUX_ISSUERS.');
  }
  return trusted.set(localIssuer.issuer, { keys: staticKeySet(localIssuer.jwks), audience, agencies: '*' });
}

function keySetOf({ jwks, jwksUri }: TrustedIssuer, { environment, now, fetch }: TrustOptions): KeySet {
  if (jwks) return staticKeySet(jwks);
  return remoteKeySet({
    url: jwksUri ?? '',
    allowHttp: environment === 'development',
    ...(now ? { now } : {}),
    ...(fetch ? { fetch } : {}),
  });
}
