import * as webhooks from '../resolvers/webhook.ts';
import { idempotencyKeyDescription, mutationErrors, pageArgs, reasonDescription } from './arguments.ts';
import { builder } from './builder.ts';

const scopes = { scopes: [['webhook:write']] } as const;

export const WebhookRef = builder.objectRef<webhooks.Webhook>('Webhook');

builder.node(WebhookRef, {
  description:
    'Where the endings of runs are told: CloudEvents 1.0 in JSON, signed as Standard Webhooks says, at least once each.',
  auth: scopes,
  id: { resolve: ({ id }) => id },
  loadOne: (id, ctx) => webhooks.webhook(ctx, id),
  fields: (t) => ({
    url: t.exposeString('url', { nullable: false, description: 'Where requests are posted.' }),
    description: t.exposeString('description', { description: 'For people.' }),
    types: t.exposeStringList('types', {
      nullable: false,
      description: 'What is told: gov.flux.run.completed, gov.flux.run.failed, gov.flux.run.cancelled.',
    }),
    enabled: t.exposeBoolean('enabled', { nullable: false, description: 'Whether it is told of anything.' }),
    version: t.expose('version', { type: 'BigInt', nullable: false, description: 'Rises with every change.' }),
    createdBy: t.exposeString('createdBy', { nullable: false, description: 'Who registered it.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When it was registered.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', nullable: false, description: 'When it last changed.' }),
  }),
});

const DeliveryStatusRef = builder.enumType('WebhookDeliveryStatus', {
  description: 'Where a delivery stands.',
  values: {
    PENDING: { description: 'Tried at `dueAt`, for the first time or again.' },
    DELIVERED: { description: 'The receiver answered 2xx.' },
    DEAD: { description: 'Given up after the last attempt; `replayWebhookDelivery` begins anew.' },
  } satisfies Record<webhooks.DeliveryStatus, { description: string }>,
});

const DeliveryRef = builder.objectRef<webhooks.WebhookDelivery>('WebhookDelivery').implement({
  description: 'One ending of a run on its way to a webhook.',
  auth: scopes,
  fields: (t) => ({
    deliveryId: t.exposeID('id', {
      nullable: false,
      description: 'The same over all attempts: the header webhook-id.',
    }),
    runId: t.exposeID('runId', { nullable: false, description: 'The run’s UUID.' }),
    type: t.exposeString('type', { nullable: false, description: 'What is told.' }),
    status: t.expose('status', { type: DeliveryStatusRef, nullable: false, description: 'Where it stands.' }),
    attempts: t.exposeInt('attempts', { nullable: false, description: 'How often it was tried.' }),
    dueAt: t.expose('dueAt', {
      type: 'DateTime',
      nullable: false,
      description: 'While PENDING: when it is tried next.',
    }),
    lastStatus: t.exposeInt('lastStatus', { description: 'The HTTP status of the last answer.' }),
    lastError: t.exposeString('lastError', { description: 'Why the last attempt failed.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', nullable: false, description: 'When the run ended.' }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', description: 'When it was delivered or given up.' }),
  }),
});

const WebhookPageRef = builder.connectionObject(
  { type: WebhookRef, name: 'WebhookConnection' },
  { name: 'WebhookEdge' },
);
const DeliveryPageRef = builder.connectionObject(
  { type: DeliveryRef, name: 'WebhookDeliveryConnection' },
  { name: 'WebhookDeliveryEdge' },
);

builder.queryFields((t) => ({
  webhooks: t.field({
    type: WebhookPageRef,
    nullable: false,
    auth: scopes,
    description: 'The agency’s webhooks, the oldest first.',
    args: pageArgs(t.arg),
    resolve: (_root, args, ctx) => webhooks.webhooks(ctx, args),
  }),
  webhookDeliveries: t.field({
    type: DeliveryPageRef,
    nullable: false,
    auth: scopes,
    description: 'What was and is to be delivered to a webhook, the newest first.',
    args: {
      webhookId: t.arg.id({ required: true, description: 'The webhook, by global id or UUID.' }),
      status: t.arg({ type: DeliveryStatusRef, description: 'Only those that stand so.' }),
      ...pageArgs(t.arg),
    },
    resolve: (_root, args, ctx) => webhooks.deliveries(ctx, args),
  }),
}));

const WithSecretRef = builder.objectRef<webhooks.WebhookWithSecret>('WebhookWithSecret').implement({
  description: 'A webhook and its secret, which is shown this once.',
  auth: scopes,
  fields: (t) => ({
    webhook: t.expose('webhook', { type: WebhookRef, nullable: false, description: 'The webhook.' }),
    secret: t.exposeString('secret', {
      nullable: false,
      description: '`whsec_…`: what the receiver verifies signatures with. Keep it; it is not shown again.',
    }),
  }),
});

const DeletedRef = builder.objectRef<{ id: string; url: string }>('DeletedWebhook').implement({
  description: 'A webhook that is no more.',
  auth: scopes,
  fields: (t) => ({
    webhookId: t.exposeID('id', { nullable: false, description: 'Its UUID.' }),
    url: t.exposeString('url', { nullable: false, description: 'Where it led.' }),
  }),
});

const webhookIdDescription = 'The webhook, by global id or UUID.';

const RegisterInput = builder.inputType('RegisterWebhookInput', {
  description: 'Where to tell of the endings of runs.',
  fields: (t) => ({
    url: t.string({
      required: true,
      description: 'https, to a public address unless the operator allows its host (http too outside production).',
    }),
    types: t.stringList({ description: 'Which endings; all three if absent.' }),
    description: t.string({ description: 'For people; at most 200 characters.' }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});
const EnableInput = builder.inputType('SetWebhookEnabledInput', {
  description: 'Which webhook to disable or enable.',
  fields: (t) => ({
    webhookId: t.id({ required: true, description: webhookIdDescription }),
    enabled: t.boolean({ required: true, description: 'Whether it is told of anything from now on.' }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});
const RotateInput = builder.inputType('RotateWebhookSecretInput', {
  description: 'Which webhook gets another secret.',
  fields: (t) => ({
    webhookId: t.id({ required: true, description: webhookIdDescription }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});
const DeleteInput = builder.inputType('DeleteWebhookInput', {
  description: 'Which webhook goes.',
  fields: (t) => ({
    webhookId: t.id({ required: true, description: webhookIdDescription }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});
const ReplayInput = builder.inputType('ReplayWebhookDeliveryInput', {
  description: 'Which delivery to make again.',
  fields: (t) => ({
    deliveryId: t.id({ required: true, description: 'The delivery’s UUID.' }),
    reason: t.string({ description: reasonDescription }),
    idempotencyKey: t.string({ description: idempotencyKeyDescription }),
  }),
});

builder.mutationFields((t) => ({
  registerWebhook: t.field({
    type: WithSecretRef,
    nullable: false,
    auth: scopes,
    description: 'Registers where the endings of runs are told from now on, and shows its secret once.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'RegisterWebhookResult', description: 'The webhook with its secret, or why not.' },
    },
    args: { input: t.arg({ type: RegisterInput, required: true, description: 'The webhook.' }) },
    resolve: (_root, { input }, ctx) => webhooks.registerWebhook(ctx, input),
  }),
  setWebhookEnabled: t.field({
    type: WebhookRef,
    nullable: false,
    auth: scopes,
    description: 'Disables a webhook, or enables it again. Disabled, it is told of nothing new, and its outbox waits.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'SetWebhookEnabledResult', description: 'The webhook as it is now, or why not.' },
    },
    args: { input: t.arg({ type: EnableInput, required: true, description: 'Which webhook.' }) },
    resolve: (_root, { input }, ctx) => webhooks.setWebhookEnabled(ctx, input),
  }),
  rotateWebhookSecret: t.field({
    type: WithSecretRef,
    nullable: false,
    auth: scopes,
    description: 'Gives a webhook another secret. For 24 hours requests carry the signatures of both.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'RotateWebhookSecretResult', description: 'The webhook with its new secret, or why not.' },
    },
    args: { input: t.arg({ type: RotateInput, required: true, description: 'Which webhook.' }) },
    resolve: (_root, { input }, ctx) => webhooks.rotateWebhookSecret(ctx, input),
  }),
  deleteWebhook: t.field({
    type: DeletedRef,
    nullable: false,
    auth: scopes,
    description: 'Deletes a webhook with what is left in its outbox and the history of its deliveries.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'DeleteWebhookResult', description: 'What it was, or why not.' },
    },
    args: { input: t.arg({ type: DeleteInput, required: true, description: 'Which webhook.' }) },
    resolve: (_root, { input }, ctx) => webhooks.deleteWebhook(ctx, input),
  }),
  replayWebhookDelivery: t.field({
    type: DeliveryRef,
    nullable: false,
    auth: scopes,
    description: 'Makes a delivery again that was delivered or given up, under the same id and with all its attempts.',
    errors: {
      types: [...mutationErrors],
      union: { name: 'ReplayWebhookDeliveryResult', description: 'The delivery, PENDING again, or why not.' },
    },
    args: { input: t.arg({ type: ReplayInput, required: true, description: 'Which delivery.' }) },
    resolve: (_root, { input }, ctx) => webhooks.replayWebhookDelivery(ctx, input),
  }),
}));
