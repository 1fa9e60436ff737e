import * as agencies from '../resolvers/agency.ts';
import { idempotencyKeyDescription, mutationErrors, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';
import { ClassificationRef } from './classification.ts';
import { ContentTypeRef, UseCaseRef } from './vocabulary.ts';

export const AgencyRef = builder.objectRef<agencies.Agency>('Agency');

const LegalHoldRef = builder.objectRef<agencies.LegalHold>('LegalHold').implement({
  description: 'A hold for reasons of law: nothing of the agency expires until an admin lifts it.',
  auth: { scopes: [['agency:read']] },
  fields: (t) => ({
    since: t.expose('since', { type: 'DateTime', nullable: false, description: 'Since when.' }),
    by: t.exposeString('by', { nullable: false, description: 'Who set it.' }),
    reason: t.exposeString('reason', { nullable: false, description: 'Why.' }),
  }),
});

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
    retentionFloorDays: t.exposeInt('retentionFloorDays', {
      nullable: false,
      description: 'Days below which the platform lets nobody shorten the retention; 0 is no floor.',
    }),
    legalHold: t.field({
      type: LegalHoldRef,
      description: 'Why nothing expires, whatever the retention; null when no hold is set.',
      resolve: agencies.legalHoldOf,
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

const LegalHoldInput = builder.inputType('LegalHoldInput', {
  description: 'Why a legal hold is set or lifted.',
  fields: (t) => ({
    reason: t.string({ required: true, description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('setLegalHold', (t) =>
  t.field({
    type: AgencyRef,
    nullable: false,
    auth: { scopes: [['agency:write']] },
    description: 'Stops all expiry of the caller’s agency, until the hold is lifted.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'SetLegalHoldResult', description: 'The agency under its hold, or why not.' },
    },
    args: { input: t.arg({ type: LegalHoldInput, required: true, description: 'Why.' }) },
    resolve: (_root, { input }, ctx) => agencies.setLegalHold(ctx, input),
  }),
);

builder.mutationField('liftLegalHold', (t) =>
  t.field({
    type: AgencyRef,
    nullable: false,
    auth: { scopes: [['agency:write']] },
    description: 'Lifts the hold: what has expired meanwhile goes.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'LiftLegalHoldResult', description: 'The agency without its hold, or why not.' },
    },
    args: { input: t.arg({ type: LegalHoldInput, required: true, description: 'Why.' }) },
    resolve: (_root, { input }, ctx) => agencies.liftLegalHold(ctx, input),
  }),
);
