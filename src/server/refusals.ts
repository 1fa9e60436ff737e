import type { IncomingHttpHeaders } from 'node:http';

import { type Bearer, RefusedTokenError } from '../auth/refused-token.ts';
import type { FluxError } from '../errors.ts';
import { requestIds, type RequestIds, userAgentOf } from './request-ids.ts';

/** Whose request was refused. */
export interface RefusedAsker extends RequestIds {
  principal: Bearer;
  ip: string;
  userAgent: string | null;
}

/** Told of each request that was refused as a whole, where it is known whose it was. */
export type OnRefused = (asker: RefusedAsker, error: FluxError) => void;

/** Tells of a refusal. A token that nobody trusted has signed names nobody. */
export function tellRefusal(
  onRefused: OnRefused | undefined,
  from: { headers: IncomingHttpHeaders; ip: string },
  principal: Bearer | undefined,
  failure: FluxError,
): void {
  const known = principal ?? (failure instanceof RefusedTokenError ? failure.bearer : null);
  if (!onRefused || !known) return;
  const userAgent = userAgentOf(from.headers);
  onRefused({ principal: known, ...requestIds(from.headers), ip: from.ip, userAgent }, failure);
}
