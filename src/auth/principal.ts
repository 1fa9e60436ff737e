import type { Role, Scope } from './roles.ts';

/** Classifications in rising order; a clearance is an index into this list. */
export const classifications = ['U', 'CUI', 'C', 'S', 'TS', 'SCI'] as const;
export type Classification = (typeof classifications)[number];

/** 0 (U) to 5 (SCI). */
export type Clearance = 0 | 1 | 2 | 3 | 4 | 5;

/**
 * Who is calling, as a verified token says it. The agency comes from here and from nowhere else: no header and no argument can
 * name another.
 */
export interface Principal {
  /** `sub` of the token. */
  readonly subject: string;
  /** The agency's slug. */
  readonly agency: string;
  readonly role: Role;
  /** Follow from the role. */
  readonly scopes: ReadonlySet<Scope>;
  readonly clearance: Clearance;
  /** `jti` of the token. Never key anything on the token's text: base64url has several spellings of one token. */
  readonly tokenId: string;
  /** `iat`, in whole seconds. */
  readonly issuedAt: Date;
  readonly expiresAt: Date;
  readonly issuer: string;
}
