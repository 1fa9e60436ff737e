import type { IncomingHttpHeaders } from 'node:http';

import { randomHex, randomUuid } from '../crypto/random.ts';

export interface RequestIds {
  requestId: string;
  /** 32 hex digits. */
  traceId: string;
}

const traceparent = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/;

/** The caller's own ids where it sent any that are well-formed (`x-request-id`, W3C `traceparent`), new ones otherwise. */
export function requestIds(headers: IncomingHttpHeaders): RequestIds {
  const given = headers['x-request-id'];
  const parent = headers['traceparent'];
  const traceId = typeof parent === 'string' ? traceparent.exec(parent)?.[1] : undefined;
  return {
    requestId: typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : randomUuid(),
    traceId: traceId !== undefined && !/^0+$/.test(traceId) ? traceId : randomHex(16),
  };
}

const userAgentLengthMax = 500;

export function userAgentOf(headers: IncomingHttpHeaders): string | null {
  return headers['user-agent']?.slice(0, userAgentLengthMax) ?? null;
}
