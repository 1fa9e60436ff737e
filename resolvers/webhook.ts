import {
  type DeliveryStatus,
  findWebhook,
  listDeliveries,
  listWebhooks,
  type Webhook,
  type WebhookDelivery,
} from '../src/db/webhooks.ts';
import * as domain from '../src/domain/webhooks.ts';
import { FluxError } from '../src/errors.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { isUuid } from './ids.ts';

export type { DeliveryStatus, Webhook, WebhookDelivery } from '../src/db/webhooks.ts';
export type { WebhookWithSecret } from '../src/domain/webhooks.ts';

interface AskedArgs {
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export async function webhook(ctx: Context, id: string): Promise<Webhook | null> {
  const uuid = keyOf('Webhook', id);
  return uuid === null ? null : read(ctx, (tx) => findWebhook(tx, uuid));
}

export function webhooks(ctx: Context, args: PageArgs): Promise<Page<Webhook>> {
  return pageOf(ctx, 'webhooks', args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) => listWebhooks(tx, { after: position?.[0] ?? null, limit, backward })),
    positionOf: ({ id }) => [id],
  });
}

export function deliveries(
  ctx: Context,
  { webhookId, status, ...args }: PageArgs & { webhookId: string; status?: DeliveryStatus | null | undefined },
): Promise<Page<WebhookDelivery>> {
  const uuid = keyOf('Webhook', webhookId) ?? '00000000-0000-0000-0000-000000000000';
  return pageOf(ctx, `webhook deliveries ${uuid} ${status ?? ''}`, args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) =>
        listDeliveries(tx, { webhookId: uuid, status: status ?? null, after: position?.[0] ?? null, limit, backward }),
      ),
    positionOf: ({ id }) => [id],
  });
}

export function registerWebhook(
  ctx: Context,
  input: AskedArgs & { url: string; types?: string[] | null | undefined; description?: string | null | undefined },
): Promise<domain.WebhookWithSecret> {
  const { url, types = null, description = null } = input;
  return domain.registerWebhook(depsOf(ctx), ctx, { url, types, description, ...asked(input) });
}

export function setWebhookEnabled(
  ctx: Context,
  input: AskedArgs & { webhookId: string; enabled: boolean },
): Promise<Webhook> {
  const { enabled } = input;
  return domain.setWebhookEnabled(depsOf(ctx), ctx, {
    webhookId: keyOf('Webhook', input.webhookId),
    enabled,
    ...asked(input),
  });
}

export function rotateWebhookSecret(
  ctx: Context,
  input: AskedArgs & { webhookId: string },
): Promise<domain.WebhookWithSecret> {
  return domain.rotateWebhookSecret(depsOf(ctx), ctx, {
    webhookId: keyOf('Webhook', input.webhookId),
    ...asked(input),
  });
}

export function deleteWebhook(
  ctx: Context,
  input: AskedArgs & { webhookId: string },
): Promise<{ id: string; url: string }> {
  return domain.deleteWebhook(depsOf(ctx), ctx, { webhookId: keyOf('Webhook', input.webhookId), ...asked(input) });
}

export function replayWebhookDelivery(
  ctx: Context,
  input: AskedArgs & { deliveryId: string },
): Promise<WebhookDelivery> {
  const deliveryId = isUuid(input.deliveryId) ? input.deliveryId : null;
  return domain.replayWebhookDelivery(depsOf(ctx), ctx, { deliveryId, ...asked(input) });
}

function asked({ reason = null, idempotencyKey = null }: AskedArgs) {
  return { reason, idempotencyKey };
}

/** @throws UNAVAILABLE this API was composed without a way to keep their secrets */
function depsOf({ api }: Context): domain.WebhookDeps {
  const { webhooks: settings, keys } = api;
  if (!settings || !keys)
    throw new FluxError('UNAVAILABLE', 'This API has no key to keep webhooks’ secrets with. Set FLUX_DATA_KEY.');
  return { ...api, webhooks: settings, keys };
}

/** A UUID from a global id or as such; null when it is neither. */
function keyOf(type: string, id: string): string | null {
  if (isUuid(id)) return id;
  const [found, key = ''] = Buffer.from(id, 'base64url').toString('utf8').split(':');
  return found === type && isUuid(key) ? key : null;
}
