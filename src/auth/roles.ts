/** The four roles of a token, and the scopes that follow from each. Apart from this table nothing grants anything. */
export const roles = ['admin', 'operator', 'viewer', 'analyzer'] as const;
export type Role = (typeof roles)[number];

const everyone: readonly Role[] = roles;

/** Each scope with the roles that hold it. A scope that is not listed here does not exist. */
const holders = {
  'run:read': everyone,
  'pipeline:read': everyone,
  'agency:read': everyone,
  'data:read': ['admin', 'operator', 'analyzer'],
  'run:write': ['admin', 'operator'],
  'pipeline:write': ['admin', 'operator'],
  'contract:write': ['admin', 'operator'],
  'schedule:write': ['admin', 'operator'],
  'audit:read': ['admin', 'analyzer'],
  'agency:write': ['admin'],
  'connection:write': ['admin'],
  'webhook:write': ['admin'],
  'audit:export': ['admin'],
  'security:read': ['admin'],
  'security:write': ['admin'],
} as const satisfies Record<string, readonly Role[]>;

export type Scope = keyof typeof holders;
export const scopes = Object.keys(holders) as readonly Scope[];

/** The scopes of a role, in the order of the table. */
export function scopesOf(role: Role): ReadonlySet<Scope> {
  return new Set(scopes.filter((scope) => (holders[scope] as readonly Role[]).includes(role)));
}

export function isRole(value: unknown): value is Role {
  return typeof value === 'string' && (roles as readonly string[]).includes(value);
}
