import { appendAudit } from '../audit/append.ts';
import { rewriteDataKeys } from '../db/off-boarding.ts';
import { listDataKeys } from '../db/data-keys.ts';
import * as statements from '../db/reencryption.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import { keyCacheMs } from '../keys/key-ring.ts';
import { type KeyOperator, requireOpen } from './manage-keys.ts';
import { asAgency, underOperatorLock } from './operator.ts';

export interface Retired {
  agency: string;
  versions: readonly { purpose: string; version: number }[];
}

/**
 * Destroys the versions of an agency's data keys before the newest, once nothing is under them any more. What is counted is what
 * counts: nobody stores anything sealed of the agency meanwhile, and afterwards nothing under a destroyed version (migrations/0055).
 *
 * @param keptMs how long a process may go on with a key that it has; the newest must be older than twice that
 * @throws NOT_FOUND there is no such agency, or it was removed
 * @throws RUN_CONFLICT something is under an old version still, or a partition at work may know an object by its old place
 */
export async function retireKeys(
  operator: KeyOperator,
  agency: string,
  { reason, keptMs = keyCacheMs }: { reason: string; keptMs?: number },
): Promise<Retired> {
  if (reason.trim() === '')
    throw new FluxError('INVALID_INPUT', 'A reason is needed to destroy keys. Say why, for the audit log.');
  return underOperatorLock(operator, 'flux keys retire', async (admin) => {
    await requireOpen(admin, agency);
    const versions = await asAgency(admin, operator.contextKey, agency, async (tx) => {
      await statements.lockKeysAlone(tx, agency);
      const newest = await newestVersions(tx, agency, keptMs);
      requireNothingLeft(agency, await statements.countUnderOldKeys(tx, agency, newest));
      await requireNobodyBehind(tx, agency);
      const destroyed = await statements.destroyOldKeys(tx, agency, newest);
      if (destroyed.length > 0) {
        await appendAudit(tx, {
          actor: operator.actor,
          role: 'platform',
          action: 'keys.retire',
          resourceType: 'agency',
          resourceId: agency,
          success: true,
          reason,
          after: { destroyed },
        });
      }
      return destroyed;
    });
    if (versions.length > 0) await rewriteDataKeys(admin);
    return { agency, versions };
  });
}

async function newestVersions(
  tx: Connection,
  agency: string,
  keptMs: number,
): Promise<{ objects: number; records: number }> {
  const keys = (await listDataKeys(tx, agency)).filter(({ wrapped }) => wrapped !== null);
  const [objects, records] = [
    keys.find(({ purpose }) => purpose === 'objects'),
    keys.find(({ purpose }) => purpose === 'records'),
  ];
  if (!objects || !records)
    throw new FluxError('KEY_UNAVAILABLE', `Agency ${agency} has no data keys. Make them with flux keys ensure.`);
  const youngest = Math.max(objects.createdAt.getTime(), records.createdAt.getTime());
  const waitMs = youngest + 2 * keptMs - Date.now();
  if (waitMs > 0) {
    throw new FluxError(
      'RUN_CONFLICT',
      `The newest keys of ${agency} are so new that processes may still seal with those before. Try again in ${String(Math.ceil(waitMs / 1000))} s.`,
    );
  }
  return { objects: objects.version, records: records.version };
}

function requireNothingLeft(agency: string, { objects, payloads, records, secrets }: statements.UnderOldKeys): void {
  if (objects + payloads + records + secrets === 0) return;
  throw new FluxError(
    'RUN_CONFLICT',
    `Old keys of ${agency} seal ${String(objects)} objects, ${String(payloads)} payloads, ${String(records)} refused records and ` +
      `${String(secrets)} secrets of webhooks and connections still; destroyed, these would be lost. Run flux keys reencrypt ${agency} first.`,
  );
}

async function requireNobodyBehind(tx: Connection, agency: string): Promise<void> {
  const behind = await statements.countWorkFromBeforeMoves(tx, agency);
  if (behind === 0) return;
  throw new FluxError(
    'RUN_CONFLICT',
    `${String(behind)} partitions of ${agency} are at work since before its objects were re-encrypted, and may open them by the old key. Let them end, then try again.`,
  );
}
