import { randomUuid } from '../crypto/random.ts';
import type { Connection } from '../db/pool.ts';
import {
  countWebhooks,
  deleteWebhook as removeWebhook,
  enableWebhook,
  findDelivery,
  findWebhook,
  insertWebhook,
  replaceSecret,
  replayDelivery as putBack,
  type Webhook,
  type WebhookDelivery,
  type WebhookType,
  webhookTypes,
} from '../db/webhooks.ts';
import { FluxError } from '../errors.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { perform } from './perform.ts';
import { checkWebhookAddress, type WebhookPolicy } from './webhook-address.ts';
import { newWebhookSecret, openWebhookSecret, sealWebhookSecret, shownWebhookSecret } from './webhook-secret.ts';

/** What the operator decides about webhooks. */
export interface WebhookDeps extends DomainDeps {
  webhooks: { policy: WebhookPolicy; dataKeys(): readonly Buffer[] };
  keys: KeyRing;
}

/** A webhook with its secret, which is shown to whoever made it and never again. */
export interface WebhookWithSecret {
  webhook: Webhook;
  secret: string;
}

const webhooksMax = 20;
const descriptionMax = 200;
/** For so long both secrets sign: time for a receiver to take the new one. */
const overlapSeconds = 24 * 3_600;

export interface RegisterWebhook extends Asked {
  url: string;
  types: readonly string[] | null;
  description: string | null;
}

/** @throws INVALID_INPUT LIMIT_EXCEEDED the agency has as many as it may */
export async function registerWebhook(
  deps: WebhookDeps,
  caller: Caller,
  input: RegisterWebhook,
): Promise<WebhookWithSecret> {
  const { agency, subject, clearance } = caller.principal;
  const { url, types, description, reason, idempotencyKey } = input;
  const { value } = await perform<WebhookWithSecret, { url: string; types: WebhookType[] }>(deps, caller, {
    action: 'webhook.register',
    resourceType: 'webhook',
    resourceId: null,
    reason,
    idempotencyKey,
    request: { url, types: types ? [...types] : null, description },
    check: () => checked(input, deps.webhooks.policy),
    async change(tx, fit) {
      if ((await countWebhooks(tx)) >= webhooksMax) {
        throw new FluxError('LIMIT_EXCEEDED', `The agency has ${String(webhooksMax)} webhooks. Delete one first.`);
      }
      const id = randomUuid();
      const secret = newWebhookSecret();
      const sealed = await sealWebhookSecret({ keys: deps.keys, db: tx }, { agency, webhookId: id }, secret);
      const webhook = await insertWebhook(tx, {
        id,
        ...fit,
        description,
        clearance,
        secret: sealed,
        createdBy: subject,
      });
      return { value: { webhook, secret }, resourceId: id, reference: { id }, before: null, after: told(webhook) };
    },
    again: (tx, { id }) => withSecret(tx, deps, agency, String(id)),
  });
  return value;
}

function checked({ url, types, description }: RegisterWebhook, policy: WebhookPolicy) {
  const known = new Set<string>(webhookTypes);
  const asked = types ?? webhookTypes;
  const unknown = asked.filter((type) => !known.has(type));
  if (unknown.length > 0 || asked.length === 0 || new Set(asked).size !== asked.length) {
    throw new FluxError(
      'INVALID_INPUT',
      `types should name each of ${webhookTypes.join(', ')} at most once, and at least one.`,
    );
  }
  if (description !== null && (description.length > descriptionMax || description.includes('\0'))) {
    throw new FluxError('INVALID_INPUT', `description should have at most ${String(descriptionMax)} characters.`);
  }
  return { url: checkWebhookAddress(url, policy).href, types: [...asked] as WebhookType[] };
}

export interface ChangeWebhook extends Asked {
  webhookId: string | null;
}

/** Disabled, a webhook is told of nothing new, and what is in its outbox waits. @throws NOT_FOUND */
export function setWebhookEnabled(
  deps: WebhookDeps,
  caller: Caller,
  input: ChangeWebhook & { enabled: boolean },
): Promise<Webhook> {
  return changeWebhook(deps, caller, input, {
    action: input.enabled ? 'webhook.enable' : 'webhook.disable',
    keyedAs: 'webhook.setEnabled',
    request: { enabled: input.enabled },
    change: async (tx, { id }) => required(await enableWebhook(tx, id, input.enabled), id),
    again: (tx, id) => existing(tx, id),
    toldOf: told,
  });
}

/** Gives a webhook another secret. For a day requests carry the signatures of both. @throws NOT_FOUND */
export function rotateWebhookSecret(
  deps: WebhookDeps,
  caller: Caller,
  input: ChangeWebhook,
): Promise<WebhookWithSecret> {
  const { agency } = caller.principal;
  return changeWebhook(deps, caller, input, {
    action: 'webhook.rotate',
    request: {},
    async change(tx, { id }) {
      const secret = newWebhookSecret();
      const sealed = await sealWebhookSecret({ keys: deps.keys, db: tx }, { agency, webhookId: id }, secret);
      return { webhook: required(await replaceSecret(tx, id, sealed, overlapSeconds), id), secret };
    },
    again: (tx, id) => withSecret(tx, deps, agency, id),
    toldOf: ({ webhook }) => told(webhook),
  });
}

/** Removes a webhook and the history of its deliveries. @returns it as it was @throws NOT_FOUND */
export function deleteWebhook(
  deps: WebhookDeps,
  caller: Caller,
  input: ChangeWebhook,
): Promise<{ id: string; url: string }> {
  return changeWebhook(deps, caller, input, {
    action: 'webhook.delete',
    request: {},
    async change(tx, webhook) {
      await removeWebhook(tx, webhook.id);
      return { id: webhook.id, url: webhook.url };
    },
    again: (_tx, id, { url }) => Promise.resolve({ id, url: String(url) }),
    toldOf: () => null,
  });
}

interface Step<T> {
  action: string;
  keyedAs?: string;
  request: Record<string, unknown>;
  change(tx: Connection, webhook: Webhook): Promise<T>;
  again(tx: Connection, id: string, reference: Record<string, unknown>): Promise<T>;
  toldOf(value: T): unknown;
}

async function changeWebhook<T>(deps: WebhookDeps, caller: Caller, input: ChangeWebhook, step: Step<T>): Promise<T> {
  const { webhookId, reason, idempotencyKey } = input;
  const { value } = await perform<T, string>(deps, caller, {
    action: step.action,
    ...(step.keyedAs === undefined ? {} : { keyedAs: step.keyedAs }),
    resourceType: 'webhook',
    resourceId: webhookId,
    reason,
    idempotencyKey,
    request: { ...step.request, webhookId },
    check: () => requiredId(webhookId),
    async change(tx, id) {
      const before = required(await findWebhook(tx, id, { lock: true }), id);
      const changed = await step.change(tx, before);
      return {
        value: changed,
        resourceId: id,
        reference: { id, url: before.url },
        before: told(before),
        after: step.toldOf(changed),
      };
    },
    again: (tx, reference) => step.again(tx, String(reference['id']), reference),
  });
  return value;
}

/** Puts a delivery that is over, most often a dead one, back into the outbox. @throws NOT_FOUND INVALID_TRANSITION */
export async function replayWebhookDelivery(
  deps: WebhookDeps,
  caller: Caller,
  { deliveryId, reason, idempotencyKey }: Asked & { deliveryId: string | null },
): Promise<WebhookDelivery> {
  const { value } = await perform<WebhookDelivery, string>(deps, caller, {
    action: 'webhook.replay',
    resourceType: 'webhook_delivery',
    resourceId: deliveryId,
    reason,
    idempotencyKey,
    request: { deliveryId },
    check: () => requiredId(deliveryId),
    async change(tx, id) {
      const before = required(await findDelivery(tx, id), id);
      const after = await putBack(tx, id);
      if (!after) {
        throw new FluxError('INVALID_TRANSITION', 'The delivery is PENDING: it is tried again by itself.');
      }
      return {
        value: after,
        resourceId: id,
        reference: { id },
        before: { status: before.status },
        after: { status: after.status },
      };
    },
    again: async (tx, { id }) => required(await findDelivery(tx, String(id)), String(id)),
  });
  return value;
}

function requiredId(id: string | null): string {
  if (id !== null) return id;
  throw new FluxError('NOT_FOUND', 'There is nothing with that id for this caller.');
}

function required<T>(found: T | null, id: string): T {
  if (found) return found;
  throw new FluxError('NOT_FOUND', `There is nothing with the id ${id} for this caller.`);
}

async function existing(tx: Connection, id: string): Promise<Webhook> {
  return required(await findWebhook(tx, id), id);
}

async function withSecret(tx: Connection, deps: WebhookDeps, agency: string, id: string): Promise<WebhookWithSecret> {
  const webhook = required(await findWebhook(tx, id), id);
  const opener = { keys: deps.keys, db: tx, dataKeys: deps.webhooks.dataKeys() };
  const bytes = await openWebhookSecret(opener, { agency, webhookId: id }, webhook.secret);
  return { webhook, secret: shownWebhookSecret(bytes) };
}

/** What the audit log keeps of it: never a secret. */
function told({ id, url, types, enabled, description, version }: Webhook): unknown {
  return { id, url, types, enabled, description, version: String(version) };
}
