import { countLiveSubscriptions, countLiveUnderTokens, findLiveSubscriptions } from '../db/live-subscriptions.ts';
import { channels, notifyThrough } from '../db/notify.ts';
import type { Connection } from '../db/pool.ts';
import { findRevocation, insertRevocation, type Revocation } from '../db/revocations.ts';
import { FluxError } from '../errors.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { type Change, perform } from './perform.ts';
import { revocationHint } from './revocations.ts';

export type { Revocation } from '../db/revocations.ts';

export interface RevokeSubscriptions extends Asked {
  /** Everything of this person; or else `subscriptionIds`. */
  subject: string | null;
  /** UUIDs; null for what names no subscription. */
  subscriptionIds: readonly (string | null)[] | null;
}

type Target = { subject: string } | { subscriptionIds: readonly string[] };

const idsMax = 200;
const subjectLengthMax = 255; // as in a token

/**
 * Ends subscriptions before their tokens do. What is revoked is tokens, because a client that lost only its subscription would
 * open it again within the second: all that the subject was issued up to now, or those under which the subscriptions run. Every
 * API process closes what it has open under them within two seconds, and no request with one of them is answered any more.
 *
 * @throws INVALID_INPUT neither or both are named, or there is no reason
 * @throws NOT_FOUND none of the subscriptions is open
 */
export async function revokeSubscriptions(
  deps: DomainDeps,
  caller: Caller,
  input: RevokeSubscriptions,
): Promise<Revocation> {
  const { subject, subscriptionIds } = input;
  const { value } = await perform<Revocation, Target>(deps, caller, {
    action: 'subscription.revoke',
    resourceType: subject === null ? 'subscription' : 'subject',
    resourceId: subject ?? subscriptionIds?.[0] ?? null,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { subject, subscriptionIds },
    check: () => targetOf(input),
    change: (tx, target) => revoke(tx, caller, target, input.reason as string),
    again: async (tx, { revocationId }) => (await findRevocation(tx, revocationId as string)) as Revocation, // never removed
  });
  await wakeServers(deps);
  return value;
}

async function revoke(tx: Connection, caller: Caller, target: Target, reason: string): Promise<Change<Revocation>> {
  const named =
    'subject' in target
      ? { subject: target.subject, tokenIds: null, count: await countLiveSubscriptions(tx, target.subject) }
      : await tokensOf(tx, target.subscriptionIds);
  const revocation = await insertRevocation(tx, {
    subject: named.subject,
    tokenIds: named.tokenIds,
    subscriptionCount: named.count,
    reason,
    revokedBy: caller.principal.subject,
  });
  return {
    value: revocation,
    resourceId: 'subject' in target ? target.subject : (target.subscriptionIds[0] as string),
    reference: { revocationId: revocation.id },
    after: {
      revocationId: revocation.id,
      subject: revocation.subject,
      tokenIds: revocation.tokenIds,
      subscriptions: revocation.subscriptionCount,
    },
  };
}

async function tokensOf(tx: Connection, ids: readonly string[]) {
  const open = await findLiveSubscriptions(tx, ids);
  if (open.length === 0) {
    throw new FluxError('NOT_FOUND', 'None of these subscriptions is open. liveSubscriptions lists those that are.');
  }
  const tokenIds = [...new Set(open.map(({ tokenId }) => tokenId))];
  return { subject: null, tokenIds, count: await countLiveUnderTokens(tx, tokenIds) };
}

function targetOf({ subject, subscriptionIds, reason }: RevokeSubscriptions): Target {
  if (reason === null || reason.trim() === '') {
    throw refused('/reason', 'A reason is needed to revoke, and it is empty. Say why, for the audit log.');
  }
  if ((subject === null) === (subscriptionIds === null)) {
    throw refused('/subject', 'Name either a subject or subscriptionIds, one of them.');
  }
  if (subject !== null) {
    if (subject !== '' && subject.length <= subjectLengthMax && !subject.includes('\0')) return { subject };
    throw refused('/subject', `subject should have 1 to ${String(subjectLengthMax)} characters, as a token’s \`sub\`.`);
  }
  const ids = subscriptionIds ?? [];
  if (ids.length === 0 || ids.length > idsMax) {
    throw refused('/subscriptionIds', `Name 1 to ${String(idsMax)} subscriptions; found ${String(ids.length)}.`);
  }
  return { subscriptionIds: ids.filter((id) => id !== null) };
}

function refused(path: string, message: string): FluxError {
  return new FluxError('INVALID_INPUT', message, { details: { issues: [{ path, rule: 'required', message }] } });
}

/** A hint only: a server that misses it finds the revocation by its poll. */
async function wakeServers({ pool, logger, sendHint }: DomainDeps): Promise<void> {
  const send = sendHint ?? notifyThrough(pool);
  await send(channels.runEvents, revocationHint).catch((cause: unknown) => {
    logger.warn({ err: cause }, 'no hint could be sent; the servers find the revocation by their poll');
  });
}
