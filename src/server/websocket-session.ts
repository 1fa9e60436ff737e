import type { IncomingMessage } from 'node:http';

import type { WebSocket } from 'ws';

import type { Principal } from '../auth/principal.ts';
import { type RequestIds, requestIds, userAgentOf } from './request-ids.ts';
import { hasExpired, onTokenEnd } from './token-end.ts';

/** graphql-ws' clients take it for a reason to come back with a fresh token; 4400 and 4401 would end them. */
export const forbidden = { code: 4403, reason: 'Forbidden' };
export const tryAgainLater = { code: 1013, reason: 'Try again later' };

/** One socket whose token was accepted. */
export interface Session extends RequestIds {
  readonly principal: Principal;
  readonly ip: string;
  readonly userAgent: string | null;
  /** The operations under way, by the client's id. */
  readonly running: Map<string, AbortController>;
  expired(): boolean;
  /** Ends everything the socket has started. */
  end(): void;
}

/** Starts a session that closes its socket the moment the token ends. */
export function openSession(socket: WebSocket, request: IncomingMessage, principal: Principal): Session {
  const running = new Map<string, AbortController>();
  const disarm = onTokenEnd(principal, () => socket.close(forbidden.code, forbidden.reason));
  return {
    principal,
    ...requestIds(request.headers),
    ip: request.socket.remoteAddress ?? 'unknown',
    userAgent: userAgentOf(request.headers),
    running,
    expired: () => hasExpired(principal),
    end() {
      disarm();
      for (const operation of running.values()) operation.abort();
      running.clear();
    },
  };
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
