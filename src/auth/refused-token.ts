import { FluxError } from '../errors.ts';

/** Whom a token names. */
export interface Bearer {
  subject: string;
  agency: string;
  role: string;
}

/** A token that was refused. Its text says nothing of why; `bearer` is for the audit log alone. */
export class RefusedTokenError extends FluxError {
  /** Whom it names, when a trusted issuer signed it and may speak for that agency; null when anybody may have written it. */
  readonly bearer: Bearer | null;

  constructor(bearer: Bearer | null) {
    super('UNAUTHENTICATED', 'The token is not valid. Get a new one from the agency’s issuer.');
    this.bearer = bearer;
  }
}

const namePattern = /^[^\p{Cc}]{1,255}$/u;

/** @param agencies those that the token's verified issuer may speak for */
export function bearerOf(claims: Record<string, unknown>, agencies: readonly string[] | '*'): Bearer | null {
  const { sub, agency, role } = claims;
  if (typeof agency !== 'string' || !/^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$/.test(agency)) return null;
  if (agencies !== '*' && !agencies.includes(agency)) return null;
  const name = (value: unknown): string => (typeof value === 'string' && namePattern.test(value) ? value : 'unknown');
  return { subject: name(sub), agency, role: name(role) };
}
