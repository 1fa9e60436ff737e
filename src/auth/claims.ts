import { type Clearance, classifications, type Principal } from './principal.ts';
import { isRole, scopesOf } from './roles.ts';

const slug = /^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$/;
const clockSkewSeconds = 30;

export interface ClaimRules {
  issuer: string;
  /** The agencies that the issuer may speak for; '*' is every one (the local issuer of a development machine). */
  agencies: readonly string[] | '*';
  /** Longest life of a token, seconds; undefined is without limit. */
  lifetimeSecondsMax: number | undefined;
  /** Seconds since 1970. */
  now: number;
}

/**
 * Turns the claims of a token whose signature, issuer and audience are verified into a principal.
 *
 * @returns what is wrong with them, as text for the log, otherwise
 */
export function toPrincipal(claims: Record<string, unknown>, rules: ClaimRules): Principal | string {
  const { sub, jti, agency, role, iat, exp, nbf } = claims;
  if (!isName(sub)) return 'sub is not a name';
  if (!isName(jti)) return 'jti is not an id';
  if (!isSeconds(iat) || !isSeconds(exp)) return 'iat and exp are not both times';
  if (iat > rules.now + clockSkewSeconds) return 'iat lies in the future';
  if (exp <= rules.now) return 'the token has expired';
  if (nbf !== undefined && !(isSeconds(nbf) && nbf <= rules.now + clockSkewSeconds)) return 'nbf lies in the future';
  if (exp <= iat) return 'exp is not after iat';
  if (rules.lifetimeSecondsMax !== undefined && exp - iat > rules.lifetimeSecondsMax) return 'the token lives too long';
  // Exactly one slug: an array or an object must not become text that happens to fit.
  if (typeof agency !== 'string' || !slug.test(agency)) return 'agency is not one slug';
  if (rules.agencies !== '*' && !rules.agencies.includes(agency)) return 'the issuer is not bound to that agency';
  if (!isRole(role)) return 'role is none of the four';
  const clearance = clearanceOf(claims['clearance']);
  if (clearance === null) return 'clearance is none of the six';
  return Object.freeze({
    subject: sub,
    agency,
    role,
    scopes: scopesOf(role),
    clearance,
    tokenId: jti,
    issuedAt: new Date(Math.floor(iat) * 1000),
    expiresAt: new Date(exp * 1000),
    issuer: rules.issuer,
  });
}

function isName(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value.length > 0 &&
    value.length <= 255 &&
    value.isWellFormed() &&
    !/\p{Cc}/u.test(value)
  );
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 && value < 1e11;
}

/** U when absent. */
function clearanceOf(value: unknown): Clearance | null {
  if (value === undefined) return 0;
  const index = classifications.findIndex((name) => name === value);
  return index < 0 ? null : (index as Clearance);
}
