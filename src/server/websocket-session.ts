import type { IncomingMessage } from 'node:http';

import type { WebSocket } from 'ws';

import type { Principal } from '../auth/principal.ts';
import type { LiveHandle, LiveHooks } from './live-subscriptions.ts';
import { activePlace, inShortSpan, SpanKind, type SpanPlace } from '../telemetry/tracing.ts';
import { callersPlace, type RequestIds, requestIds, trustHeaders, userAgentOf } from './request-ids.ts';
import { hasEnded, onTokenEnd, type TokenEnd } from './token-end.ts';

/** graphql-ws' clients take it for a reason to come back with a fresh token; 4400 and 4401 would end them. */
export const forbidden = { code: 4403, reason: 'Forbidden' };
export const tryAgainLater = { code: 1013, reason: 'Try again later' };

/** One operation under way. */
export interface RunningOperation {
  controller: AbortController;
  /** Resolves when nothing of it is left, and its id may be used again. */
  ended: PromiseWithResolvers<void>;
  /** Of a subscription that has begun. */
  live?: LiveHandle;
}

/** One socket whose token was accepted. */
export interface Session extends RequestIds {
  /** The span of the socket's opening, of which its operations are parts; null where nothing is traced. */
  readonly place: SpanPlace | null;
  /** As the newest token says it. */
  readonly principal: Principal;
  readonly tokenEnd: TokenEnd;
  readonly ip: string;
  readonly userAgent: string | null;
  /** The operations under way, by the client's id. */
  readonly running: Map<string, RunningOperation>;
  expired(): boolean;
  /** Goes on under a newer token. @returns false, and nothing changes, when it is another person's or gives other rights */
  refresh(newer: Principal): boolean;
  /** Ends everything the socket has started. */
  end(): void;
}

/** Starts a session that closes its socket the moment its token ends or is revoked. */
export function openSession(
  socket: WebSocket,
  request: IncomingMessage,
  { principal: first, hooks }: { principal: Principal; hooks: LiveHooks },
): Session {
  const running = new Map<string, RunningOperation>();
  const close = (): void => socket.close(forbidden.code, forbidden.reason);
  let principal = first;
  let revoked = false;
  const revoke = (): void => {
    revoked = true;
    close();
  };
  let unwatch = hooks.watch(principal, revoke);
  const tokenEnd = (): Date => (revoked ? new Date(0) : principal.expiresAt);
  const disarm = onTokenEnd(tokenEnd, close);
  return {
    get principal() {
      return principal;
    },
    tokenEnd,
    ...openingOf(request),
    ip: request.socket.remoteAddress ?? 'unknown',
    userAgent: userAgentOf(request.headers),
    running,
    expired: () => hasEnded(tokenEnd),
    refresh(newer) {
      if (!hasEqualRights(principal, newer)) return false;
      // An older token that still lives must not shorten what a newer one gave.
      if (newer.expiresAt <= principal.expiresAt) return true;
      principal = newer;
      unwatch();
      unwatch = hooks.watch(newer, revoke);
      for (const { live } of running.values()) live?.refreshed(newer);
      return true;
    },
    end() {
      disarm();
      unwatch();
      for (const { controller, ended, live } of running.values()) {
        controller.abort();
        live?.closed();
        ended.resolve();
      }
      running.clear();
    },
  };
}

/** A span that is over at once, because a socket stays open for hours and a span is told when it ends. */
function openingOf({ headers }: IncomingMessage): RequestIds & { place: SpanPlace | null } {
  trustHeaders(headers);
  const options = { kind: SpanKind.SERVER, parent: callersPlace(headers) };
  return inShortSpan('WEBSOCKET /v1/graphql', options, () => ({ ...requestIds(headers), place: activePlace() }));
}

/** What runs was authorized for these rights; under others it would have to begin anew. */
function hasEqualRights(one: Principal, other: Principal): boolean {
  return (
    one.issuer === other.issuer &&
    one.subject === other.subject &&
    one.agency === other.agency &&
    one.role === other.role &&
    one.clearance === other.clearance
  );
}

/** Counts open sessions by who opened them. */
export function sessionCounter(max: number): {
  enter(principal: Principal): boolean;
  leave(principal: Principal): void;
} {
  const counts = new Map<string, number>();
  const keyOf = ({ issuer, agency, subject }: Principal): string => JSON.stringify([issuer, agency, subject]);
  return {
    enter(principal) {
      const key = keyOf(principal);
      const count = counts.get(key) ?? 0;
      if (count >= max) return false;
      counts.set(key, count + 1);
      return true;
    },
    leave(principal) {
      const key = keyOf(principal);
      const count = (counts.get(key) ?? 1) - 1;
      if (count === 0) counts.delete(key);
      else counts.set(key, count);
    },
  };
}
