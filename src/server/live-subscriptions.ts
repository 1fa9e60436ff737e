/** Where the transports tell of what they serve, and hear that a token was revoked. */
import { type ExecutionArgs, getOperationAST, Kind } from 'graphql';

import type { Principal } from '../auth/principal.ts';
import type { RequestContext } from '../auth/request-context.ts';
import type { OpenedSubscription } from '../domain/live-subscriptions.ts';

export interface LiveHooks {
  /** Calls `end` once when the token is revoked. @returns what forgets about it */
  watch(principal: Principal, end: () => void): () => void;
  /** A subscription begins. */
  opened(subscription: OpenedSubscription): LiveHandle;
}

export interface LiveHandle {
  /** It runs under a newer token of the same person from now on. */
  refreshed(principal: Principal): void;
  closed(): void;
}

/** For a server without a database: nothing is revoked, nobody lists. */
export const noLiveHooks: LiveHooks = {
  watch: () => () => undefined,
  opened: () => ({ refreshed: () => undefined, closed: () => undefined }),
};

/** What is told of a subscription. @param principal whose token it runs under now */
export function describeSubscription(
  args: Pick<ExecutionArgs, 'document' | 'operationName'>,
  { ip, userAgent, requestId }: Pick<RequestContext, 'ip' | 'userAgent' | 'requestId'>,
  { principal, transport }: Pick<OpenedSubscription, 'principal' | 'transport'>,
): OpenedSubscription {
  const operation = getOperationAST(args.document, args.operationName);
  const selected = operation?.selectionSet.selections.find((one) => one.kind === Kind.FIELD);
  return {
    principal,
    transport,
    // Through a fragment it has no name here; it is a subscription all the same.
    field: selected?.name.value ?? 'subscription',
    operationName: operation?.name?.value.slice(0, 200) ?? null,
    ip,
    userAgent,
    requestId,
  };
}
