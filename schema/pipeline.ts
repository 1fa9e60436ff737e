import * as pipelines from '../resolvers/pipeline.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';
import { ClassificationRef } from './classification.ts';
import { SourceConnectionRef } from './connection.ts';
import { ContractRef } from './contract.ts';
import { ContentTypeRef, UseCaseRef } from './vocabulary.ts';

export const PipelineRef = builder.objectRef<pipelines.Pipeline>('Pipeline');

builder.node(PipelineRef, {
  description: 'One immutable version of a definition: source, contract, transforms, destination, use case.',
  auth: { scopes: [['pipeline:read']] },
  id: { resolve: ({ name, version }) => `${name}@${String(version)}` },
  loadOne: (key, ctx) => pipelines.pipelineByKey(ctx, key),
  fields: (t) => ({
    name: t.exposeString('name', { nullable: false, description: 'Shared by all versions.' }),
    version: t.exposeInt('version', { nullable: false, description: 'From 1; the highest is the current one.' }),
    title: t.exposeString('title', { nullable: false, description: 'For people.' }),
    contentType: t.expose('contentType', {
      type: ContentTypeRef,
      nullable: false,
      description: 'What its records are made of.',
    }),
    useCase: t.expose('useCase', { type: UseCaseRef, nullable: false, description: 'What its result is for.' }),
    classification: t.expose('classification', {
      type: ClassificationRef,
      nullable: false,
      description: 'Who is not cleared for it does not see that it exists.',
    }),
    enabled: t.exposeBoolean('enabled', { nullable: false, description: 'Whether it can be run.' }),
    contract: t.field({
      type: ContractRef,
      description: 'The contract that its records must meet.',
      resolve: (pipeline, _args, ctx) => pipelines.contractOf(ctx, pipeline),
    }),
    connection: t.field({
      type: SourceConnectionRef,
      description: 'The only place that it can read from.',
      resolve: (pipeline, _args, ctx) => pipelines.connectionOf(ctx, pipeline),
    }),
    definition: t.field({
      type: 'JSON',
      nullable: false,
      description: 'The document of schemas/v1/pipeline.schema.json, with its defaults written out.',
      resolve: (pipeline) => JSON.parse(pipeline.definition) as unknown,
    }),
    sha256: t.string({
      nullable: false,
      description: 'SHA-256 of the definition’s canonical bytes (RFC 8785), in hex.',
      resolve: (pipeline) => pipeline.sha256.toString('hex'),
    }),
    createdBy: t.exposeString('createdBy', { nullable: false, description: 'Who registered it.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was registered.' }),
  }),
});

const PipelinePageRef = builder.connectionObject(
  { type: PipelineRef, name: 'PipelineConnection' },
  { name: 'PipelineEdge' },
);

builder.queryFields((t) => ({
  pipeline: t.field({
    type: PipelineRef,
    auth: { scopes: [['pipeline:read']] },
    description: 'A version of a pipeline.',
    args: {
      name: t.arg.string({ required: true, description: 'Its name.' }),
      version: t.arg.int({ description: 'Its version; the current one if absent.' }),
    },
    resolve: (_root, args, ctx) => pipelines.pipeline(ctx, args),
  }),
  pipelines: t.field({
    type: PipelinePageRef,
    nullable: false,
    auth: { scopes: [['pipeline:read']] },
    description: 'The current versions of the agency’s pipelines, by name.',
    args: pageArgs(t.arg),
    resolve: (_root, args, ctx) => pipelines.pipelines(ctx, args),
  }),
}));

const RegisterPipelineInput = builder.inputType('RegisterPipelineInput', {
  description: 'A pipeline’s next version.',
  fields: (t) => ({
    definition: t.field({
      type: 'JSON',
      required: true,
      description: 'The document of schemas/v1/pipeline.schema.json.',
    }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('registerPipeline', (t) =>
  t.field({
    type: PipelineRef,
    nullable: false,
    auth: { scopes: [['pipeline:write']] },
    description:
      'Registers the next version of a pipeline, the current one from then on. Runs keep the version they started with.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'RegisterPipelineResult', description: 'The new version, or why not.' },
    },
    args: { input: t.arg({ type: RegisterPipelineInput, required: true, description: 'The pipeline.' }) },
    resolve: (_root, { input }, ctx) => pipelines.registerPipeline(ctx, input),
  }),
);
