import type { Principal } from '../src/auth/principal.ts';
import { builder } from './builder.ts';
import { ClassificationRef } from './classification.ts';

export const RoleRef = builder.enumType('Role', {
  description: 'What the holder of a token is to the agency; the scopes follow from it.',
  values: {
    ADMIN: { value: 'admin', description: 'Runs the agency’s Flux: all scopes.' },
    OPERATOR: { value: 'operator', description: 'Registers pipelines, starts and stops runs.' },
    ANALYZER: { value: 'analyzer', description: 'Reads runs, data and the audit log.' },
    VIEWER: { value: 'viewer', description: 'Reads runs and pipelines.' },
  } as const,
});

const ViewerRef = builder.objectRef<Principal>('Viewer').implement({
  description: 'The caller, as the token says it.',
  auth: 'authenticated',
  fields: (t) => ({
    subject: t.exposeString('subject', { nullable: false, description: 'Who it is, by the issuer’s word (`sub`).' }),
    agency: t.exposeString('agency', {
      nullable: false,
      description: 'Slug of the only agency that this token reaches.',
    }),
    role: t.expose('role', { type: RoleRef, nullable: false, description: 'The role within the agency.' }),
    scopes: t.field({
      type: ['Scope'],
      nullable: false,
      description: 'What the role may do.',
      resolve: (principal) => [...principal.scopes],
    }),
    clearance: t.expose('clearance', {
      type: ClassificationRef,
      nullable: false,
      description: 'The highest classification that exists for the caller.',
    }),
    expiresAt: t.field({
      type: 'DateTime',
      nullable: false,
      description: 'When the token ends; on a WebSocket, the newest that it was given.',
      resolve: (_principal, _args, ctx) => ctx.tokenEnd(),
    }),
  }),
});

builder.queryField('viewer', (t) =>
  t.field({
    type: ViewerRef,
    nullable: false,
    auth: 'authenticated',
    description: 'The caller.',
    resolve: (_root, _args, ctx) => ctx.principal,
  }),
);
