import type { IncomingHttpHeaders } from 'node:http';

import { randomHex, randomUuid } from '../crypto/random.ts';
import { activePlace, placeOf, type SpanPlace } from '../telemetry/tracing.ts';

export interface RequestIds {
  requestId: string;
  /** 32 hex digits. */
  traceId: string;
}

/** Headers of requests whose token was accepted, and the ids that each request has got. */
const trusted = new WeakSet<IncomingHttpHeaders>();
const given = new WeakMap<IncomingHttpHeaders, RequestIds>();

/** Says that a request's token was accepted, so that its `traceparent` is taken: a stranger must not write into another's trace. */
export function trustHeaders(headers: IncomingHttpHeaders): void {
  trusted.add(headers);
}

/** The caller's span, of which the request is a part; null without one, and for whom nobody has vouched. */
export function callersPlace(headers: IncomingHttpHeaders): SpanPlace | null {
  return trusted.has(headers) ? placeOf(headers['traceparent']) : null;
}

/**
 * A request's ids, the same however often they are asked for: the caller's `x-request-id` where it is well-formed, and the trace of the active
 * span, of a trusted caller's `traceparent`, or a new one.
 */
export function requestIds(headers: IncomingHttpHeaders): RequestIds {
  const known = given.get(headers);
  if (known) return known;
  const name = headers['x-request-id'];
  const ids = {
    requestId: typeof name === 'string' && /^[\w.:-]{1,128}$/.test(name) ? name : randomUuid(),
    traceId: activePlace()?.traceId ?? callersPlace(headers)?.traceId ?? randomHex(16),
  };
  given.set(headers, ids);
  return ids;
}

const userAgentLengthMax = 500;

export function userAgentOf(headers: IncomingHttpHeaders): string | null {
  return headers['user-agent']?.slice(0, userAgentLengthMax) ?? null;
}
