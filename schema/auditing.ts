/**
 * Auditing of the schema: whatever is read through it leaves an audit entry, on every transport, because all of them execute
 * this schema. A root field is told before it is answered; each object of an answer when graphql completes it; a subscription when
 * it opens and when it closes. A mutation's own entry is its use case's, in the transaction of the change.
 */
import SchemaBuilder, {
  BasePlugin,
  type PothosObjectTypeConfig,
  type PothosOutputFieldConfig,
  type SchemaTypes,
} from '@pothos/core';
import {
  type GraphQLFieldResolver,
  type GraphQLIsTypeOfFn,
  type GraphQLObjectType,
  type GraphQLResolveInfo,
  isObjectType,
} from 'graphql';

import type { Context } from '../resolvers/context.ts';
import { audited } from '../resolvers/stream.ts';
import { type FluxError, toFluxError } from '../src/errors.ts';

declare global {
  // Pothos plugins add their options by declaration merging into this namespace.
  // eslint-disable-next-line @typescript-eslint/no-namespace
  export namespace PothosSchemaTypes {
    interface Plugins<Types extends SchemaTypes> {
      auditing: AuditingPlugin<Types>;
    }
  }
}

type Resolver = GraphQLFieldResolver<unknown, object, object>;
type IsTypeOf = GraphQLIsTypeOfFn<unknown, object>;

/** They hold what is read, and are nothing by themselves. */
const frame = /(Connection|Edge)$|^PageInfo$/;

export class AuditingPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override wrapResolve(resolve: Resolver, { kind, name }: PothosOutputFieldConfig<Types>): Resolver {
    if (kind !== 'Query' && kind !== 'Mutation') return resolve;
    const field = `${kind}.${name}`;
    return async (source, args, context, info) => {
      begin(context, info, field);
      const failed = (cause: unknown): void => {
        const { code } = toFluxError(cause);
        if (kind === 'Query') traceOf(context)?.failed(field, code);
        else traceOf(context)?.mutationFailed(field, code);
      };
      try {
        const result: unknown = await resolve(source, args, context, info);
        // A failure that the mutation can expect is its result.
        if (kind === 'Mutation' && isFailure(result)) traceOf(context)?.mutationFailed(field, result.code);
        return result;
      } catch (cause) {
        failed(cause);
        throw cause;
      }
    };
  }

  override wrapSubscribe(
    subscribe: Resolver | undefined,
    { kind, name }: PothosOutputFieldConfig<Types>,
  ): Resolver | undefined {
    if (!subscribe || kind !== 'Subscription') return subscribe;
    const field = `${kind}.${name}`;
    return async (source, args, context, info) => {
      begin(context, info, field);
      const trace = traceOf(context);
      try {
        const stream = (await subscribe(source, args, context, info)) as AsyncIterableIterator<object>;
        return trace ? audited(stream, trace, field) : stream;
      } catch (cause) {
        trace?.refusedToOpen(field, toFluxError(cause).code);
        throw cause;
      }
    };
  }

  /** graphql asks once for each object that it completes, whatever field led to it: the one place that all of them pass. */
  override wrapIsTypeOf(isTypeOf: IsTypeOf | undefined, { name }: PothosObjectTypeConfig): IsTypeOf | undefined {
    if (isTypeOf || frame.test(name)) return isTypeOf;
    return (value, context, info) => {
      const trace = traceOf(context);
      if (!trace) return true;
      const type = info.schema.getType(name);
      if (!isObjectType(type) || isPublic(type)) return true;
      trace.touched(name);
      const id = isNode(type) ? globalIdOf(type, value, context, info) : null;
      void id?.then((rawId) => trace.touchedId(name, rawId)).catch(() => undefined);
      return true;
    };
  }
}

/** The errors plugin hands on a proxy, which is no instance of anything. */
function isFailure(result: unknown): result is FluxError {
  const { errorId, code } = (result ?? {}) as Partial<FluxError>;
  return typeof errorId === 'string' && typeof code === 'string';
}

/** Absent where somebody executes the schema without the API around it. */
function traceOf(context: object): Context['trace'] | undefined {
  return (context as Partial<Context>).trace;
}

/** @throws UNAVAILABLE what would be done now could not be audited */
function begin(context: object, { operation }: GraphQLResolveInfo, field: string): void {
  traceOf(context)?.begin(operation.operation, operation.name?.value ?? null, field);
}

function isPublic({ extensions }: GraphQLObjectType): boolean {
  return extensions['auth'] === 'public';
}

function isNode(type: GraphQLObjectType): boolean {
  return type.getInterfaces().some(({ name }) => name === 'Node');
}

/** The id within its type, as the audit log and the commands know it. */
async function globalIdOf(
  type: GraphQLObjectType,
  value: unknown,
  context: object,
  info: GraphQLResolveInfo,
): Promise<string> {
  const global: unknown = await type.getFields()['id']?.resolve?.(value, {}, context, info);
  return Buffer.from(String(global), 'base64url')
    .toString('utf8')
    .slice(type.name.length + 1);
}

SchemaBuilder.registerPlugin('auditing', AuditingPlugin);
