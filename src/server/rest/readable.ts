import { getNamedType, type GraphQLField } from 'graphql';

import type { Scope } from '../../auth/roles.ts';

interface Decided {
  extensions?: Readonly<Record<string, unknown>> | null;
}

/** The alternatives of scopes that a field or a type needs (schema/authorization.ts writes them); null where it needs none. */
function scopesOf(decided: Decided): readonly (readonly Scope[])[] | null {
  const decision = decided.extensions?.['auth'];
  if (typeof decision !== 'object' || decision === null || !('scopes' in decision)) return null;
  return decision.scopes as readonly (readonly Scope[])[];
}

/** Whether a holder of `held` may read a field, and what the field is. It only leaves out; the schema refuses by itself. */
export function readableWith(held: ReadonlySet<Scope>): (field: GraphQLField<unknown, unknown>) => boolean {
  const suffices = (needed: readonly (readonly Scope[])[] | null): boolean =>
    needed === null || needed.some((all) => all.every((scope) => held.has(scope)));
  return (field) => suffices(scopesOf(field)) && suffices(scopesOf(getNamedType(field.type)));
}

/** Whether some caller may read less of it than others. */
export function isScoped(field: GraphQLField<unknown, unknown>): boolean {
  return scopesOf(field) !== null;
}
