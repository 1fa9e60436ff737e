import { FluxError } from '../errors.ts';
import type { Principal } from './principal.ts';
import { sealContext } from './tenant-context.ts';

/** How long the database honours one seal, seconds. Each transaction gets a fresh one, so it need only outlast a transaction. */
const sealLifeSeconds = 60;

/** What a resolver knows of its caller: built once per HTTP request or WebSocket operation, and frozen. */
export interface RequestContext {
  readonly principal: Principal;
  /** When the caller's right to be answered ends: with the token, or with a newer one of the same rights on its connection. */
  tokenEnd(): Date;
  /**
   * A fresh sealed tenant context for `inTenant`, good until the token ends, at most for 60 seconds.
   *
   * @throws UNAUTHENTICATED the token has run out meanwhile (a subscription may outlive it by a moment)
   */
  sealed(): string;
  readonly requestId: string;
  /** 32 hex digits (W3C trace context). */
  readonly traceId: string;
  readonly ip: string;
  readonly userAgent: string | null;
  /** Aborts when the caller is gone, completes the subscription, or has waited too long. */
  readonly signal: AbortSignal;
}

export interface RequestContextParts {
  principal: Principal;
  /** Where a connection can be given a newer token; the principal's own end otherwise. */
  tokenEnd?: () => Date;
  seal: { keyId: string; key: Buffer };
  requestId: string;
  traceId: string;
  ip: string;
  userAgent: string | null;
  signal: AbortSignal;
  /** Milliseconds since 1970; a parameter so that a test can move it. */
  now?: () => number;
}

export function createRequestContext(parts: RequestContextParts): RequestContext {
  const { principal, seal, requestId, traceId, ip, userAgent, signal, now = Date.now } = parts;
  const { tokenEnd = () => principal.expiresAt } = parts;
  return Object.freeze({
    principal,
    tokenEnd,
    sealed() {
      const current = Math.floor(now() / 1000);
      const end = Math.floor(tokenEnd().getTime() / 1000);
      if (current >= end) throw tokenExpired();
      return sealContext(seal, {
        agency: principal.agency,
        role: principal.role,
        clearance: principal.clearance,
        expiresAt: Math.min(end, current + sealLifeSeconds),
      });
    },
    requestId,
    traceId,
    ip,
    userAgent,
    signal,
  });
}

export function tokenExpired(): FluxError {
  return new FluxError('UNAUTHENTICATED', 'The token has expired. Get a new one and send the request again.');
}
