import { DirectiveLocation, GraphQLDirective, GraphQLList, GraphQLNonNull, type GraphQLScalarType } from 'graphql';

import type { Scope } from '../src/auth/roles.ts';

/**
 * Who may read a field. `scopes` is a list of alternatives, each a list of scopes that are needed together: the outer list is
 * OR, the inner list is AND.
 */
export type AuthDecision = 'public' | 'authenticated' | { readonly scopes: readonly (readonly Scope[])[] };

const locations = [DirectiveLocation.FIELD_DEFINITION, DirectiveLocation.OBJECT, DirectiveLocation.INTERFACE];

/** The directives that print the decisions. They describe; schema/authorization.ts enforces. @param scope the scalar `Scope` */
export function authorizationDirectives(scope: GraphQLScalarType): GraphQLDirective[] {
  return [
    new GraphQLDirective({
      name: 'public',
      description: 'Anyone who may call the API may read this.',
      locations,
    }),
    new GraphQLDirective({
      name: 'authenticated',
      description: 'Needs a valid token, whatever its role.',
      locations,
    }),
    new GraphQLDirective({
      name: 'requiresScopes',
      description:
        'Needs a token whose role holds the scopes: the outer list is OR, the inner list is AND. On a type it holds for ' +
        'every field, and a field’s own scopes are needed as well. Without them a nullable field is null with a FORBIDDEN error.',
      locations,
      args: {
        scopes: {
          description: 'Alternatives (OR), each a list of scopes that are needed together (AND).',
          type: new GraphQLNonNull(new GraphQLList(new GraphQLNonNull(new GraphQLList(new GraphQLNonNull(scope))))),
        },
      },
    }),
  ];
}

/** A decision as printSchemaWithDirectives reads it from a type's or field's `extensions.directives`. */
export function asDirective(decision: AuthDecision): Record<string, object> {
  if (decision === 'public') return { public: {} };
  if (decision === 'authenticated') return { authenticated: {} };
  return { requiresScopes: { scopes: decision.scopes } };
}
