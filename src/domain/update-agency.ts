import { type Agency, type AgencyChange, lockOwnAgency, readOwnAgency, updateOwnAgency } from '../db/agencies-read.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { requireNoPersonalData } from './no-personal-data.ts';
import { type Change, perform } from './perform.ts';

export interface UpdateAgency extends Asked {
  /** Null leaves as it is. */
  name: string | null;
  abbreviation: string | null;
  /** Days; 0 keeps without end. */
  retentionDays: number | null;
}

const textLengthMax = 200;

/**
 * Changes what an agency's admin may change of it. Shortening the retention needs a reason, and stops at the platform's floor.
 *
 * @throws INVALID_INPUT
 */
export async function updateAgency(deps: DomainDeps, caller: Caller, input: UpdateAgency): Promise<Agency> {
  const { name, abbreviation, retentionDays } = input;
  const { value } = await perform<Agency, void>(deps, caller, {
    action: 'agency.update',
    resourceType: 'agency',
    resourceId: caller.principal.agency,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: { name, abbreviation, retentionDays },
    check: () => {
      requireText('name', name);
      requireText('abbreviation', abbreviation);
      requireNoPersonalData('The agency’s name', { name, abbreviation });
      if (retentionDays !== null && retentionDays < 0) {
        throw new FluxError(
          'INVALID_INPUT',
          `retentionDays is ${String(retentionDays)}; pass 0 (without end) or more.`,
        );
      }
    },
    change: (tx) => change(tx, input),
    again: async (tx) => (await readOwnAgency(tx)) as Agency, // the agency of a verified session cannot have gone
  });
  return value;
}

async function change(tx: Connection, input: UpdateAgency): Promise<Change<Agency>> {
  const before = await lockOwnAgency(tx);
  if (!before) throw new FluxError('NOT_FOUND', 'The agency of your token is not registered here.');
  const retentionDays = input.retentionDays ?? before.retentionDays;
  requireRetention(before, retentionDays, input.reason);
  const after = (await updateOwnAgency(tx, {
    name: input.name ?? before.name,
    abbreviation: input.abbreviation ?? before.abbreviation,
    retentionDays,
  })) as Agency;
  return { value: after, resourceId: after.slug, reference: {}, before: told(before), after: told(after) };
}

function requireRetention(before: Agency, days: number, reason: string | null): void {
  const shorter = lengthOf(days) < lengthOf(before.retentionDays);
  if (shorter && days < before.retentionFloorDays) {
    throw new FluxError(
      'INVALID_INPUT',
      `retentionDays is ${String(days)}; the platform keeps at least ${String(before.retentionFloorDays)} days (0 is without end).`,
    );
  }
  if (shorter && (reason === null || reason.trim() === '')) {
    throw new FluxError('INVALID_INPUT', 'Shortening the retention removes evidence for good. Pass a reason.');
  }
}

/** Zero days of retention mean for ever. */
function lengthOf(days: number): number {
  return days === 0 ? Infinity : days;
}

function requireText(field: string, text: string | null): void {
  if (
    text === null ||
    (text.trim() !== '' && text.length <= textLengthMax && !text.includes('\0') && text.isWellFormed())
  )
    return;
  throw new FluxError('INVALID_INPUT', `${field} must have 1 to ${String(textLengthMax)} characters.`);
}

function told({ name, abbreviation, retentionDays, version }: Agency): AgencyChange & { version: string } {
  return { name, abbreviation, retentionDays, version: String(version) };
}
