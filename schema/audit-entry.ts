import * as audit from '../resolvers/audit-entry.ts';
import { pageArgs } from './arguments.ts';
import { builder } from './builder.ts';

const AuditEntryRef = builder.objectRef<audit.SealedEntry>('AuditEntry');

builder.node(AuditEntryRef, {
  description: 'Who did what, sealed: a leaf of the agency’s Merkle log (RFC 6962).',
  auth: { scopes: [['audit:read']] },
  id: { resolve: ({ seq }) => String(seq) },
  loadOne: (id, ctx) => audit.auditEntryById(ctx, id),
  fields: (t) => ({
    seq: t.expose('seq', {
      type: 'BigInt',
      nullable: false,
      description: 'Place in the agency’s log, from 1, without holes.',
    }),
    cursor: t.string({
      nullable: false,
      description: 'Where `auditEntries` and `auditEntryAdded` go on after this entry.',
      resolve: (entry, _args, ctx) => audit.cursorOf(ctx, entry),
    }),
    at: t.field({
      type: 'DateTime',
      nullable: false,
      description: 'When, by the database’s clock; `body` has the microseconds.',
      resolve: ({ at }) => new Date(at),
    }),
    actor: t.exposeString('actor', { nullable: false, description: 'The token’s subject, or the worker.' }),
    role: t.exposeString('role', { nullable: false, description: 'The token’s role, or `worker`.' }),
    action: t.exposeString('action', { nullable: false, description: '`<thing>.<verb>`, such as `run.start`.' }),
    resourceType: t.exposeString('resourceType', {
      nullable: false,
      description: 'What kind of thing it was done to.',
    }),
    resourceId: t.exposeString('resourceId', { description: 'Which one; null where the request named none.' }),
    success: t.exposeBoolean('success', { nullable: false, description: 'Whether it was done.' }),
    errorCode: t.exposeString('errorCode', { description: 'Why it was not.' }),
    reason: t.string({
      description: 'What the person gave as the reason.',
      resolve: (entry) => audit.textOf(entry, 'reason'),
    }),
    before: t.field({
      type: 'JSON',
      description: 'The thing before.',
      resolve: (entry) => audit.partOf(entry, 'before'),
    }),
    after: t.field({ type: 'JSON', description: 'The thing after.', resolve: (entry) => audit.partOf(entry, 'after') }),
    traceId: t.string({ description: 'The request’s trace.', resolve: (entry) => audit.textOf(entry, 'traceId') }),
    requestId: t.string({ description: 'The request.', resolve: (entry) => audit.textOf(entry, 'requestId') }),
    ip: t.string({
      auth: { scopes: [['security:read']] },
      description: 'From where it was asked.',
      resolve: (entry) => audit.textOf(entry, 'ip'),
    }),
    userAgent: t.string({
      auth: { scopes: [['security:read']] },
      description: 'With what program it was asked.',
      resolve: (entry) => audit.textOf(entry, 'userAgent'),
    }),
    leafHash: t.string({
      nullable: false,
      description: 'SHA-256(0x00 || canonical bytes), base64.',
      resolve: ({ leafHash }) => leafHash.toString('base64'),
    }),
    body: t.string({
      auth: { scopes: [['security:read']] },
      description: 'The canonical bytes themselves (RFC 8785), which the leaf hash is of.',
      resolve: ({ body }) => body.toString('utf8'),
    }),
  }),
});

const AuditEntryPageRef = builder.connectionObject(
  { type: AuditEntryRef, name: 'AuditEntryConnection' },
  { name: 'AuditEntryEdge' },
);

const AuditFilterRef = builder.inputType('AuditFilter', {
  description: 'Which entries; all that is given must hold.',
  fields: (t) => ({
    actor: t.string({ description: 'Exactly this subject or worker.' }),
    action: t.string({ description: 'Exactly this action.' }),
    resourceType: t.string({ description: 'Exactly this kind of thing.' }),
    resourceId: t.string({ description: 'Exactly this thing.' }),
    success: t.boolean({ description: 'Done, or refused and failed.' }),
    from: t.field({ type: 'DateTime', description: 'At this time or later.' }),
    until: t.field({ type: 'DateTime', description: 'Before this time.' }),
  }),
});

const AuditProblemRef = builder.objectRef<audit.AuditVerification['problems'][number]>('AuditProblem').implement({
  description: 'What does not hold, and where.',
  auth: { scopes: [['audit:read']] },
  fields: (t) => ({
    seq: t.expose('seq', { type: 'BigInt', nullable: false, description: 'The bad entry, or the first of a range.' }),
    throughSeq: t.expose('throughSeq', { type: 'BigInt', nullable: false, description: 'The last of the range.' }),
    message: t.exposeString('what', { nullable: false, description: 'What was found.' }),
  }),
});

const AuditVerificationRef = builder.objectRef<audit.AuditVerification>('AuditVerification').implement({
  description: 'What hashing the whole log anew has shown.',
  auth: { scopes: [['audit:read']] },
  fields: (t) => ({
    holds: t.exposeBoolean('holds', { nullable: false, description: 'Whether nothing was changed, added or removed.' }),
    entries: t.expose('entries', { type: 'BigInt', nullable: false, description: 'Entries whose bytes were hashed.' }),
    size: t.expose('size', { type: 'BigInt', nullable: false, description: 'Leaves of the tree.' }),
    signedSize: t.expose('signedSize', {
      type: 'BigInt',
      nullable: false,
      description: 'How far signed checkpoints reach.',
    }),
    root: t.exposeString('root', { nullable: false, description: 'The tree’s root, base64.' }),
    checkpoint: t.exposeString('checkpoint', { description: 'The newest signed note (C2SP tlog-checkpoint).' }),
    firstBadSeq: t.expose('firstBadSeq', { type: 'BigInt', description: 'The first bad entry; null when all holds.' }),
    problems: t.field({
      type: [AuditProblemRef],
      nullable: false,
      description: 'Everything that does not hold, the most exact first.',
      resolve: ({ problems }) => problems,
    }),
  }),
});

const AuditProofRef = builder.objectRef<audit.AuditProof>('AuditProof').implement({
  description: 'A Merkle proof (RFC 6962 sections 2.1.1 and 2.1.2).',
  auth: { scopes: [['audit:read']] },
  fields: (t) => ({
    from: t.expose('from', {
      type: 'BigInt',
      nullable: false,
      description: 'The entry, or the size of the older tree.',
    }),
    size: t.expose('size', { type: 'BigInt', nullable: false, description: 'The size of the tree that it leads to.' }),
    leafHash: t.exposeString('leafHash', { description: 'Of inclusion: the entry’s leaf hash, base64.' }),
    hashes: t.exposeStringList('hashes', { nullable: false, description: 'The proof, base64, in the RFC’s order.' }),
    checkpoint: t.exposeString('checkpoint', { description: 'The signed note of that size, where there is one.' }),
  }),
});

builder.queryField('auditEntries', (t) =>
  t.field({
    type: AuditEntryPageRef,
    nullable: false,
    auth: { scopes: [['audit:read']] },
    description:
      'The agency’s sealed entries in their order. The cursors are those of `auditEntryAdded`. Without `before`, `pageInfo.endCursor` is always there: where no entry is left, it is the end of the log, also of an empty one. `last: 1` asks where the log ends now.',
    args: { filter: t.arg({ type: AuditFilterRef, description: 'Which entries.' }), ...pageArgs(t.arg) },
    resolve: (_root, args, ctx) => audit.auditEntries(ctx, args),
  }),
);

builder.queryField('verifyAuditLog', (t) =>
  t.field({
    type: AuditVerificationRef,
    nullable: false,
    auth: { scopes: [['audit:read']] },
    description: 'Hashes the agency’s whole log anew and holds it against every signed checkpoint.',
    resolve: (_root, _args, ctx) => audit.verifyAuditLog(ctx),
  }),
);

builder.queryField('auditInclusionProof', (t) =>
  t.field({
    type: AuditProofRef,
    nullable: false,
    auth: { scopes: [['audit:read']] },
    description: 'Proves that an entry is in the log.',
    args: {
      seq: t.arg({ type: 'BigInt', required: true, description: 'The entry.' }),
      size: t.arg({ type: 'BigInt', description: 'The tree’s size; the newest signed one if absent.' }),
    },
    resolve: (_root, args, ctx) => audit.inclusionProof(ctx, args),
  }),
);

builder.queryField('auditConsistencyProof', (t) =>
  t.field({
    type: AuditProofRef,
    nullable: false,
    auth: { scopes: [['audit:read']] },
    description: 'Proves that the log only grew since it had a size.',
    args: {
      from: t.arg({ type: 'BigInt', required: true, description: 'The older size, from 1.' }),
      to: t.arg({ type: 'BigInt', description: 'The newer size; the newest signed one if absent.' }),
    },
    resolve: (_root, args, ctx) => audit.consistencyProof(ctx, args),
  }),
);

builder.subscriptionField('auditEntryAdded', (t) =>
  t.field({
    type: AuditEntryRef,
    nullable: false,
    auth: { scopes: [['audit:read']] },
    description: 'Every entry as it is sealed, in order and exactly once, live.',
    args: {
      after: t.arg.string({
        description:
          'The last cursor that the client has. If absent, what is sealed from the first look on, a moment after the subscription was taken.',
      }),
    },
    subscribe: (_root, args, ctx) => audit.auditEntryAdded(ctx, args),
    resolve: (entry) => audit.itemOf(entry),
  }),
);
