import * as connections from '../resolvers/connection.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';

export const SourceConnectionRef = builder.objectRef<connections.SourceConnection>('SourceConnection');

builder.node(SourceConnectionRef, {
  description: 'An agency’s named access to a source. A pipeline names one and reaches nothing else.',
  auth: { scopes: [['pipeline:read']] },
  id: { resolve: (connection) => connection.name },
  loadOne: (name, ctx) => connections.connection(ctx, name),
  fields: (t) => ({
    name: t.exposeString('name', { nullable: false, description: 'Unique in the agency.' }),
    kind: t.exposeString('kind', {
      nullable: false,
      description: 'What it reaches: `file`, `https`, `s3`, `postgres` or `upload`.',
    }),
    title: t.exposeString('title', { description: 'For people.' }),
    config: t.field({
      type: 'JSON',
      auth: { scopes: [['pipeline:write'], ['connection:write']] },
      description: 'Where it leads: roots, a base address, a bucket, a database. Secrets are never given out.',
      resolve: (connection) => connection.config,
    }),
    version: t.expose('version', { type: 'BigInt', nullable: false, description: 'Rises with every change.' }),
    createdBy: t.exposeString('createdBy', { nullable: false, description: 'Who registered it first.' }),
    createdAt: t.expose('createdAt', {
      type: 'DateTime',
      nullable: false,
      description: 'When it was registered first.',
    }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', nullable: false, description: 'When it last changed.' }),
  }),
});

const SourceConnectionPageRef = builder.connectionObject(
  { type: SourceConnectionRef, name: 'SourceConnectionConnection' },
  { name: 'SourceConnectionEdge' },
);

builder.queryFields((t) => ({
  connection: t.field({
    type: SourceConnectionRef,
    auth: { scopes: [['pipeline:read']] },
    description: 'A connection by name.',
    args: { name: t.arg.string({ required: true, description: 'Its name.' }) },
    resolve: (_root, { name }, ctx) => connections.connection(ctx, name),
  }),
  connections: t.field({
    type: SourceConnectionPageRef,
    nullable: false,
    auth: { scopes: [['pipeline:read']] },
    description: 'The agency’s connections, by name.',
    args: pageArgs(t.arg),
    resolve: (_root, args, ctx) => connections.connections(ctx, args),
  }),
}));

const RegisterConnectionInput = builder.inputType('RegisterConnectionInput', {
  description: 'A connection to register or to change.',
  fields: (t) => ({
    definition: t.field({
      type: 'JSON',
      required: true,
      description:
        'The document of schemas/v1/connection.schema.json: `{"name": …, "kind": "file", "config": {"roots": […]}}`.',
    }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('registerConnection', (t) =>
  t.field({
    type: SourceConnectionRef,
    nullable: false,
    auth: { scopes: [['connection:write']] },
    description: 'Registers a connection, or changes the one of that name; pipelines use it from their next run on.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'RegisterConnectionResult', description: 'The connection as it is now, or why not.' },
    },
    args: { input: t.arg({ type: RegisterConnectionInput, required: true, description: 'The connection.' }) },
    resolve: (_root, { input }, ctx) => connections.registerConnection(ctx, input),
  }),
);
