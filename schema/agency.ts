import * as agencies from '../resolvers/agency.ts';
import { idempotencyKeyDescription, mutationErrors, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';
import { ClassificationRef } from './classification.ts';
import { ContentTypeRef, UseCaseRef } from './vocabulary.ts';

export const AgencyRef = builder.objectRef<agencies.Agency>('Agency');

builder.node(AgencyRef, {
  description: 'A tenant: one federal agency. A caller sees its own and no other.',
  auth: { scopes: [['agency:read']] },
  id: { resolve: (agency) => agency.slug },
  loadOne: (slug, ctx) => agencies.agency(ctx, slug),
  fields: (t) => ({
    slug: t.exposeString('slug', { nullable: false, description: 'Identifies the agency; never changes.' }),
    name: t.exposeString('name', { nullable: false, description: 'Full name.' }),
    abbreviation: t.exposeString('abbreviation', { nullable: false, description: 'As the agency writes it itself.' }),
    supportedContentTypes: t.field({
      type: [ContentTypeRef],
      nullable: false,
      description: 'Pipelines of other content types are refused.',
      resolve: (agency) => agency.supportedContentTypes,
    }),
    supportedUseCases: t.field({
      type: [UseCaseRef],
      nullable: false,
      description: 'Pipelines of other use cases are refused.',
      resolve: (agency) => agency.supportedUseCases,
    }),
    dataClassification: t.expose('dataClassification', {
      type: ClassificationRef,
      nullable: false,
      description: 'The highest classification that the agency holds.',
    }),
    retentionDays: t.exposeInt('retentionDays', {
      nullable: false,
      description: 'Days that runs and their evidence are kept; 0 keeps them for ever.',
    }),
    enabled: t.exposeBoolean('enabled', { nullable: false, description: 'Whether the agency may start runs.' }),
    shareWeight: t.exposeInt('shareWeight', {
      nullable: false,
      description:
        'Its share of the workers: quanta for one of an agency of weight 1. The platform’s operator sets it.',
    }),
    executingCap: t.exposeInt('executingCap', {
      description:
        'Most of its partitions that are worked at once; null is without cap. The platform’s operator sets it.',
    }),
    version: t.expose('version', { type: 'BigInt', nullable: false, description: 'Rises with every change.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was added.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', nullable: false, description: 'When it last changed.' }),
  }),
});

builder.queryField('agency', (t) =>
  t.field({
    type: AgencyRef,
    auth: { scopes: [['agency:read']] },
    description: 'The caller’s own agency. Another’s slug reads as null, whether it exists or not.',
    args: { slug: t.arg.string({ description: 'The slug; the caller’s own if absent.' }) },
    resolve: (_root, { slug }, ctx) => agencies.agency(ctx, slug),
  }),
);

const UpdateAgencyInput = builder.inputType('UpdateAgencyInput', {
  description: 'What to change; what is absent stays.',
  fields: (t) => ({
    name: t.string({ description: 'Full name, 1 to 200 characters.' }),
    abbreviation: t.string({ description: '1 to 200 characters.' }),
    retentionDays: t.int({
      description: 'Days; 0 keeps for ever. Shortening needs a reason and stops at the platform’s floor.',
    }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('updateAgency', (t) =>
  t.field({
    type: AgencyRef,
    nullable: false,
    auth: { scopes: [['agency:write']] },
    description: 'Changes the caller’s own agency.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'UpdateAgencyResult', description: 'The agency as it is now, or why not.' },
    },
    args: { input: t.arg({ type: UpdateAgencyInput, required: true, description: 'What to change.' }) },
    resolve: (_root, { input }, ctx) => agencies.updateAgency(ctx, input),
  }),
);
