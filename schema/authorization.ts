/**
 * Authorization of the schema: every object, interface and root field has a decision, its own (`auth` of the field) or that of
 * its type (`auth` of the type); a schema in which one has none does not build. A type's decision holds for all its fields and a
 * field's own is needed as well. The root types carry no decision, so each root field declares its own.
 *
 * The check runs in front of everything else of a field: argument mapping, the errors plugin, the resolver, and for a
 * subscription in front of its source as well as of each event. HTTP and WebSocket execute the same schema, so neither can
 * miss it.
 */
import SchemaBuilder, {
  BasePlugin,
  type PothosOutputFieldConfig,
  type PothosTypeConfig,
  type SchemaTypes,
} from '@pothos/core';
import {
  type GraphQLField,
  type GraphQLFieldResolver,
  type GraphQLSchema,
  isInterfaceType,
  isIntrospectionType,
  isNonNullType,
  isObjectType,
} from 'graphql';

import type { Context } from '../resolvers/context.ts';
import { tokenExpired } from '../src/auth/request-context.ts';
import type { Scope } from '../src/auth/roles.ts';
import { FluxError } from '../src/errors.ts';
import { asDirective, type AuthDecision } from './directives.ts';

declare global {
  // Pothos plugins add their options by declaration merging into this namespace.
  // eslint-disable-next-line @typescript-eslint/no-namespace
  export namespace PothosSchemaTypes {
    interface Plugins<Types extends SchemaTypes> {
      authorization: AuthorizationPlugin<Types>;
    }
    // eslint-disable-next-line @typescript-eslint/no-unused-vars
    interface ObjectTypeOptions<Types extends SchemaTypes, Shape> {
      /** Who may read this type's fields. */
      auth?: AuthDecision;
    }
    // eslint-disable-next-line @typescript-eslint/no-unused-vars
    interface InterfaceTypeOptions<Types extends SchemaTypes, Shape> {
      /** Who may read this interface's fields; an implementing type decides anew for its own. */
      auth?: AuthDecision;
    }
    // eslint-disable-next-line @typescript-eslint/no-unused-vars
    interface FieldOptions<Types extends SchemaTypes> {
      /** Who may read this field, in addition to what its type asks. */
      auth?: AuthDecision;
    }
  }
}

type Alternatives = readonly (readonly Scope[])[];
type Resolver = GraphQLFieldResolver<unknown, object, object>;

const rootNames = ['Query', 'Mutation', 'Subscription'];

export class AuthorizationPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override onTypeConfig(config: PothosTypeConfig): PothosTypeConfig {
    const decision = (config.pothosOptions as { auth?: AuthDecision }).auth;
    return decision ? { ...config, extensions: withDecision(config.extensions, decision) } : config;
  }

  override onOutputFieldConfig(config: PothosOutputFieldConfig<Types>): PothosOutputFieldConfig<Types> {
    const decision = (config.pothosOptions as { auth?: AuthDecision }).auth;
    return decision ? { ...config, extensions: withDecision(config.extensions, decision) } : config;
  }

  /** Outside of the argument mappers and of the errors plugin, so that nothing of a refused field runs. */
  override wrapArgMappers(resolve: Resolver | undefined, config: PothosOutputFieldConfig<Types>): Resolver | undefined {
    if (!resolve) return resolve;
    const required = [this.typeDecision(config.parentType), decisionOf(config)]
      .filter(isScoped)
      .map(({ scopes }) => scopes);
    const isRoot = config.kind === 'Query' || config.kind === 'Mutation' || config.kind === 'Subscription';
    if (!isRoot && required.length === 0) return resolve;
    const field = `${config.parentType}.${config.name}`;
    // Not async: a list of 200 runs reads thousands of fields, and only a refusal has something to wait for.
    return (source, args, context, info) => {
      const refused = missing(context as Context, field, required);
      return refused ? refuse(context as Context, field, refused) : resolve(source, args, context, info);
    };
  }

  override afterBuild(schema: GraphQLSchema): GraphQLSchema {
    const problems = authorizationProblems(schema);
    if (problems.length > 0) {
      throw new Error(`The schema does not build:\n${problems.map((problem) => `- ${problem}`).join('\n')}`);
    }
    return schema;
  }

  private typeDecision(typeName: string): AuthDecision | undefined {
    return decisionOf(this.buildCache.getTypeConfig(typeName));
  }
}

/**
 * What the caller lacks, null if nothing.
 *
 * @throws UNAUTHENTICATED nobody is known, or the token has run out
 */
function missing(context: Context, field: string, required: readonly Alternatives[]): Alternatives | null {
  const { principal, tokenEnd, trace } = context as Partial<Context>;
  if (!principal || !tokenEnd) throw new FluxError('UNAUTHENTICATED', `${field} needs a token.`);
  if (tokenEnd().getTime() <= Date.now()) {
    trace?.refused(field, 'UNAUTHENTICATED');
    throw tokenExpired();
  }
  return (
    required.find((all) => !all.some((together) => together.every((scope) => principal.scopes.has(scope)))) ?? null
  );
}

/** @throws FORBIDDEN always, once the refusal is recorded */
async function refuse(context: Context, field: string, required: Alternatives): Promise<never> {
  await context.onDenied?.({ field, required }).catch(() => undefined);
  const wanted = required.map((together) => together.join(' and ')).join(', or ');
  throw new FluxError(
    'FORBIDDEN',
    `${field} needs the scope ${wanted}; the role ${context.principal.role} does not hold it.`,
  );
}

/** Every field without a decision, and every field under a scope of its own that could not be null. */
function authorizationProblems(schema: GraphQLSchema): string[] {
  const types = Object.values(schema.getTypeMap()).filter((type) => !isIntrospectionType(type));
  return types.flatMap((type) =>
    isObjectType(type) || isInterfaceType(type)
      ? Object.values(type.getFields()).flatMap((field) => fieldProblems(type.name, decisionOf(type), field))
      : [],
  );
}

function fieldProblems(
  type: string,
  typeDecision: AuthDecision | undefined,
  field: GraphQLField<unknown, unknown>,
): string[] {
  const own = decisionOf(field);
  const name = `${type}.${field.name}`;
  const isRoot = rootNames.includes(type);
  if (isRoot && typeDecision) return [`${type} carries a decision; each root field declares its own.`];
  if (!own && !typeDecision) {
    return [`${name} has no authorization decision. Give the field or ${isRoot ? 'nothing else' : type} an \`auth\`.`];
  }
  if (own && isScoped(own) && !isRoot && isNonNullType(field.type)) {
    return [`${name} is under a scope and not nullable; a caller without the scope would lose the whole ${type}.`];
  }
  return emptyAlternatives(own) || emptyAlternatives(typeDecision) ? [`${name} asks for an empty list of scopes.`] : [];
}

function emptyAlternatives(decision: AuthDecision | undefined): boolean {
  return (
    decision !== undefined &&
    isScoped(decision) &&
    (decision.scopes.length === 0 || decision.scopes.some((all) => all.length === 0))
  );
}

function isScoped(decision: AuthDecision | undefined): decision is { scopes: Alternatives } {
  return typeof decision === 'object';
}

function withDecision(extensions: Readonly<Record<string, unknown>> | null | undefined, decision: AuthDecision) {
  const directives = (extensions?.['directives'] as Record<string, object> | undefined) ?? {};
  return { ...extensions, auth: decision, directives: { ...directives, ...asDirective(decision) } };
}

function decisionOf(config: {
  extensions?: Readonly<Record<string | symbol, unknown>> | null | undefined;
}): AuthDecision | undefined {
  return config.extensions?.['auth'] as AuthDecision | undefined;
}

SchemaBuilder.registerPlugin('authorization', AuthorizationPlugin);
