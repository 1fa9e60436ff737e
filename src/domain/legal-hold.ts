import { type Agency, lockOwnAgency, readOwnAgency } from '../db/agencies-read.ts';
import { holdRetention, legalHoldOf, writeLegalHold } from '../db/agency-holds.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import { maskText } from '../personal-data/mask.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { type Change, perform } from './perform.ts';

/**
 * Sets a legal hold on the caller's agency: nothing of it expires until it is lifted. Set again, it begins anew with the new
 * reason.
 *
 * @throws INVALID_INPUT there is no reason
 */
export function setLegalHold(deps: DomainDeps, caller: Caller, input: Asked): Promise<Agency> {
  return changeHold(deps, caller, input, 'agency.hold', (reason) => ({ by: caller.principal.subject, reason }));
}

/**
 * Lifts it: what has expired meanwhile goes with the next round of retention.
 *
 * @throws INVALID_INPUT there is no reason, or no hold
 */
export function liftLegalHold(deps: DomainDeps, caller: Caller, input: Asked): Promise<Agency> {
  return changeHold(deps, caller, input, 'agency.unhold', () => null);
}

async function changeHold(
  deps: DomainDeps,
  caller: Caller,
  input: Asked,
  action: string,
  holdOf: (reason: string) => { by: string; reason: string } | null,
): Promise<Agency> {
  const { value } = await perform<Agency, string>(deps, caller, {
    action,
    resourceType: 'agency',
    resourceId: caller.principal.agency,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: {},
    check: () => requireReason(input.reason),
    change: (tx, reason) => change(tx, holdOf(maskText(reason))),
    again: async (tx) => (await readOwnAgency(tx)) as Agency, // the agency of a verified session cannot have gone
  });
  return value;
}

async function change(tx: Connection, hold: { by: string; reason: string } | null): Promise<Change<Agency>> {
  await holdRetention(tx);
  const before = await lockOwnAgency(tx);
  if (!before) throw new FluxError('NOT_FOUND', 'The agency of your token is not registered here.');
  if (hold === null && legalHoldOf(before) === null) {
    throw new FluxError('INVALID_INPUT', 'The agency is under no legal hold; there is nothing to lift.');
  }
  await writeLegalHold(tx, hold);
  const after = (await readOwnAgency(tx)) as Agency;
  return {
    value: after,
    resourceId: after.slug,
    reference: {},
    before: { legalHold: legalHoldOf(before) && told(before) },
    after: { legalHold: legalHoldOf(after) && told(after) },
  };
}

function told({ legalHoldSince, legalHoldBy, legalHoldReason }: Agency): unknown {
  return { since: legalHoldSince?.toISOString(), by: legalHoldBy, reason: legalHoldReason };
}

function requireReason(reason: string | null): string {
  if (reason !== null && reason.trim() !== '') return reason;
  throw new FluxError('INVALID_INPUT', 'A legal hold is set and lifted with a reason. Say why, for the audit log.', {
    details: { issues: [{ path: '/reason', rule: 'required', message: 'expected a reason' }] },
  });
}
