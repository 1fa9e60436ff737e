import * as live from '../resolvers/live-subscription.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs } from './arguments.ts';
import { builder } from './builder.ts';

const LiveSubscriptionRef = builder.objectRef<live.LiveSubscription>('LiveSubscription');

builder.node(LiveSubscriptionRef, {
  description: 'A subscription that somebody of the agency has open, on whichever server.',
  auth: { scopes: [['security:read']] },
  id: { resolve: (subscription) => subscription.id },
  loadOne: (id, ctx) => live.liveSubscriptionById(ctx, id),
  fields: (t) => ({
    subject: t.exposeString('subject', { nullable: false, description: 'Whose it is: the token’s `sub`.' }),
    issuer: t.exposeString('issuer', { nullable: false, description: 'Who vouches for the subject.' }),
    role: t.exposeString('role', { nullable: false, description: 'The token’s role.' }),
    tokenExpiresAt: t.expose('tokenExpiresAt', {
      type: 'DateTime',
      nullable: false,
      description: 'When the token ends under which it runs, and it with it unless a newer one comes.',
    }),
    transport: t.exposeString('transport', { nullable: false, description: '`websocket` or `sse`.' }),
    field: t.exposeString('field', { nullable: false, description: 'The field of `Subscription`.' }),
    operationName: t.exposeString('operationName', { description: 'What the client calls it.' }),
    ip: t.exposeString('ip', { nullable: false, description: 'From where.' }),
    userAgent: t.exposeString('userAgent', { description: 'With what program.' }),
    requestId: t.exposeString('requestId', { nullable: false, description: 'The request that opened it.' }),
    openedAt: t.expose('openedAt', { type: 'DateTime', nullable: false, description: 'Since when.' }),
  }),
});

const LiveSubscriptionPageRef = builder.connectionObject(
  { type: LiveSubscriptionRef, name: 'LiveSubscriptionConnection' },
  { name: 'LiveSubscriptionEdge' },
);

builder.queryField('liveSubscriptions', (t) =>
  t.field({
    type: LiveSubscriptionPageRef,
    auth: { scopes: [['security:read']] },
    description:
      'The subscriptions that are open now in the agency, on all servers, the oldest first. One is listed within a second of its opening.',
    args: { subject: t.arg.string({ description: 'Of this subject only.' }), ...pageArgs(t.arg) },
    resolve: (_root, args, ctx) => live.liveSubscriptions(ctx, args),
  }),
);

const RevocationRef = builder.objectRef<live.Revocation>('Revocation').implement({
  description: 'Tokens that are refused before their time.',
  auth: { scopes: [['security:read'], ['security:write']] },
  fields: (t) => ({
    id: t.exposeID('id', { nullable: false, description: 'Its UUID.' }),
    subject: t.exposeString('subject', { description: 'All tokens of this subject up to `revokedAt`.' }),
    tokenIds: t.exposeStringList('tokenIds', { description: 'Or the tokens with these ids (`jti`).' }),
    subscriptionCount: t.exposeInt('subscriptionCount', {
      nullable: false,
      description: 'Subscriptions that were open under these tokens, and end.',
    }),
    reason: t.exposeString('reason', { nullable: false, description: 'Why.' }),
    revokedBy: t.exposeString('revokedBy', { nullable: false, description: 'Who asked for it.' }),
    revokedAt: t.expose('revokedAt', {
      type: 'DateTime',
      nullable: false,
      description: 'When. A token that was issued later is good.',
    }),
  }),
});

const RevokeSubscriptionsInput = builder.inputType('RevokeSubscriptionsInput', {
  description: 'Whose subscriptions end: `subject` or `subscriptionIds`, exactly one of them.',
  fields: (t) => ({
    subject: t.string({
      description: 'Everything that this subject has open; every token that it was issued until now is refused.',
    }),
    subscriptionIds: t.idList({
      description:
        'These, by global id or UUID, at most 200; the tokens under which they run are refused, and with them whatever else runs under them.',
    }),
    reason: t.string({ required: true, description: 'Why; kept in the audit log. 1 to 2000 characters.' }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationField('revokeSubscriptions', (t) =>
  t.field({
    type: RevocationRef,
    nullable: false,
    auth: { scopes: [['security:write']] },
    description:
      'Ends subscriptions before their tokens do, on all servers within two seconds: sockets close with 4403, event streams end, requests with the tokens are 401. Who has a newer token from the issuer comes back; to keep somebody out, close the account there first.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'RevokeSubscriptionsResult', description: 'What is refused from now on, or why not.' },
    },
    args: { input: t.arg({ type: RevokeSubscriptionsInput, required: true, description: 'Whose, and why.' }) },
    resolve: (_root, { input }, ctx) => live.revokeSubscriptions(ctx, input),
  }),
);
