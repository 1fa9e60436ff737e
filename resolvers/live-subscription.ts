import { findLiveSubscriptions, listLiveSubscriptions, type LiveSubscription } from '../src/db/live-subscriptions.ts';
import { type Revocation, revokeSubscriptions as revoke } from '../src/domain/revoke-subscriptions.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { isUuid, subscriptionIdOf } from './ids.ts';

export type { LiveSubscription } from '../src/db/live-subscriptions.ts';
export type { Revocation } from '../src/domain/revoke-subscriptions.ts';

export async function liveSubscriptionById(ctx: Context, id: string): Promise<LiveSubscription | null> {
  if (!isUuid(id)) return null;
  return (await read(ctx, (tx) => findLiveSubscriptions(tx, [id])))[0] ?? null;
}

/** @throws INVALID_INPUT, LIMIT_EXCEEDED */
export function liveSubscriptions(
  ctx: Context,
  { subject, ...page }: PageArgs & { subject?: string | null | undefined },
): Promise<Page<LiveSubscription>> {
  return pageOf(ctx, 'live-subscriptions', page, {
    read: (position, limit, backward) =>
      read(ctx, (tx) =>
        listLiveSubscriptions(tx, { subject: subject ?? null, afterId: position?.[0] ?? null, limit, backward }),
      ),
    positionOf: ({ id }) => [id],
  });
}

export interface RevokeArgs {
  subject?: string | null | undefined;
  subscriptionIds?: readonly string[] | null | undefined;
  reason: string;
  idempotencyKey?: string | null | undefined;
}

export function revokeSubscriptions(ctx: Context, input: RevokeArgs): Promise<Revocation> {
  return revoke(ctx.api, ctx, {
    subject: input.subject ?? null,
    subscriptionIds: input.subscriptionIds?.map(subscriptionIdOf) ?? null,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey ?? null,
  });
}
