import SchemaBuilder from '@pothos/core';
import ErrorsPlugin from '@pothos/plugin-errors';
import RelayPlugin, { resolveNodes } from '@pothos/plugin-relay';
import { type GraphQLResolveInfo, type GraphQLSchema, isObjectType } from 'graphql';

import type { Context } from '../resolvers/context.ts';
import { FluxError } from '../src/errors.ts';
import './auditing.ts';
import './authorization.ts';

/** What each type file defines its part with. Defines no type itself; fields are nullable unless they say otherwise. */
export const builder = new SchemaBuilder<{
  Context: Context;
  Scalars: {
    ID: { Input: string; Output: string };
    BigInt: { Input: bigint; Output: bigint | number };
    DateTime: { Input: Date; Output: Date };
    JSON: { Input: unknown; Output: unknown };
    Scope: { Input: string; Output: string };
  };
  DefaultEdgesNullability: { list: false; items: false };
  DefaultNodeNullability: false;
}>({
  // The first is the outermost around a resolver.
  plugins: ['authorization', 'auditing', ErrorsPlugin, RelayPlugin],
  errors: { directResult: true },
  relay: {
    cursorType: 'String',
    encodeGlobalID: (type, id) => Buffer.from(`${type}:${String(id)}`).toString('base64url'),
    decodeGlobalID,
    idFieldOptions: { description: 'Global id, opaque; `node` takes it.' },
    nodeTypeOptions: { description: 'Whatever has a global id.', auth: 'authenticated' },
    nodeQueryOptions: {
      description: 'The thing with this global id; null when there is none for the caller.',
      auth: 'authenticated',
      args: { id: { description: 'Global id.' } },
      resolve: (_root, { id }, _ctx, { schema }, load) => (isNode(schema, id) ? load(id) : null),
    },
    nodesQueryOptions: {
      description:
        'The things with these global ids, in their order; null for each that does not exist for the caller.',
      nullable: { list: false, items: true },
      auth: 'authenticated',
      args: { ids: { description: 'Global ids, at most 200.' } },
      resolve: (_root, { ids }, ctx, info) => loadNodes(ids, ctx, info),
    },
    pageInfoTypeOptions: { description: 'Where a page stands in its list.', auth: 'authenticated' },
    pageInfoFieldOptions: { description: 'Where this page stands.' },
    hasNextPageFieldOptions: { description: 'Whether more follow.' },
    hasPreviousPageFieldOptions: { description: 'Whether some come before.' },
    startCursorFieldOptions: { description: 'Cursor of the first edge.' },
    endCursorFieldOptions: { description: 'Cursor of the last edge: the next page is `after` it.' },
    cursorFieldOptions: { description: 'Position of this edge, opaque.' },
    nodeFieldOptions: { nullable: false, description: 'The thing itself.' },
    edgesFieldOptions: { nullable: { list: false, items: false }, description: 'This page’s edges, in order.' },
    firstArgOptions: { description: 'How many, 1 to 200; 50 if absent.' },
    afterArgOptions: { description: 'Start after this cursor.' },
    lastArgOptions: { description: 'How many from the end, where the field says that it can.' },
    beforeArgOptions: { description: 'End before this cursor, where the field says that it can.' },
    defaultConnectionTypeOptions: { description: 'A page of a list.', auth: 'authenticated' },
    defaultEdgeTypeOptions: { description: 'One place in a list.', auth: 'authenticated' },
  },
});

// The mutation and subscription types stand where their first fields do: a type without fields is no valid schema.
builder.queryType({ description: 'What can be read.' });

interface GlobalId {
  typename: string;
  id: string;
}

const nodesMax = 200;

/** Whether the id names a type that has global ids. One of another type is the id of nothing, like one that was deleted. */
function isNode(schema: GraphQLSchema, { typename }: GlobalId): boolean {
  const type = schema.getType(typename);
  return isObjectType(type) && type.getInterfaces().some(({ name }) => name === 'Node');
}

/**
 * Relay's own loader, asked with null for what is no node: it would throw at a name that is no type.
 *
 * @throws LIMIT_EXCEEDED more than 200 at once
 */
function loadNodes(ids: readonly GlobalId[], ctx: Context, info: GraphQLResolveInfo): Promise<unknown[]> {
  if (ids.length > nodesMax) {
    throw new FluxError(
      'LIMIT_EXCEEDED',
      `At most ${String(nodesMax)} ids are taken at once; found ${String(ids.length)}.`,
    );
  }
  return resolveNodes(
    builder,
    ctx,
    info,
    ids.map((id) => (isNode(info.schema, id) ? id : null)),
  );
}

/** @throws INVALID_INPUT the text is not a global id in its one canonical spelling */
function decodeGlobalID(globalId: string): GlobalId {
  const bytes = Buffer.from(globalId, 'base64url');
  const part = /^([A-Z]\w{0,63}):(.{1,200})$/su.exec(bytes.toString('utf8'));
  if (bytes.toString('base64url') !== globalId || !part) {
    throw new FluxError(
      'INVALID_INPUT',
      'A global id was expected, as a field `id` returned it; found something else.',
    );
  }
  return { typename: part[1] as string, id: part[2] as string };
}
