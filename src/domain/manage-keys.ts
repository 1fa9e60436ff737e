import { appendAudit } from '../audit/append.ts';
import { listAgencies } from '../db/agencies.ts';
import {
  insertDataKey,
  type KeyPurpose,
  keyPurposes,
  listDataKeys,
  rewrapDataKey,
  type WrappedDataKey,
} from '../db/data-keys.ts';
import type { Connection } from '../db/pool.ts';
import { keyByteCount } from '../crypto/aead.ts';
import { randomBytes } from '../crypto/random.ts';
import { FluxError } from '../errors.ts';
import type { KeyEncryption } from '../keys/key-encryption.ts';
import { asAgency, type Operator, underOperatorLock } from './operator.ts';

/** The platform operator with the key encryption key: who makes, turns and wraps data keys. No other process writes them. */
export interface KeyOperator extends Operator {
  encryption: KeyEncryption;
}

/** An agency's key, without its bytes. */
export type KeyState = Omit<WrappedDataKey, 'wrapped'> & { agency: string };

/** Every agency's data keys, the newest first. */
export async function listKeys(operator: KeyOperator): Promise<KeyState[]> {
  return underOperatorLock(operator, 'flux keys', async (admin) => {
    const states: KeyState[] = [];
    for (const { slug } of await listAgencies(admin)) {
      states.push(...(await asAgency(admin, operator.contextKey, slug, (tx) => statesOf(tx, slug))));
    }
    return states;
  });
}

/** Gives every agency that has none its first data keys. @returns the agencies that got some */
export async function ensureKeys(operator: KeyOperator): Promise<string[]> {
  return underOperatorLock(operator, 'flux keys', async (admin) => {
    const given: string[] = [];
    for (const { slug, open } of await listAgencies(admin)) {
      const made =
        open && (await asAgency(admin, operator.contextKey, slug, (tx) => makeMissingKeys(tx, operator, slug)));
      if (made) given.push(slug);
    }
    return given;
  });
}

/**
 * Makes the next version of an agency's data keys. The present ones must unwrap. What is sealed from now on (within seconds: processes keep keys for a short
 * while) uses it; what was sealed before stays readable.
 *
 * @throws NOT_FOUND there is no such agency, or it was removed
 * @throws KEY_UNAVAILABLE the present keys do not unwrap
 */
export async function rotateKeys(operator: KeyOperator, agency: string): Promise<KeyState[]> {
  return underOperatorLock(operator, 'flux keys', async (admin) => {
    await requireOpen(admin, agency);
    return asAgency(admin, operator.contextKey, agency, async (tx) => {
      for (const purpose of keyPurposes) await makeKey(tx, operator, agency, purpose);
      await auditKeys(tx, operator, agency, 'keys.rotate');
      return statesOf(tx, agency);
    });
  });
}

/**
 * Wraps every data key that an older key encryption key wraps with the present one. The data keys, and so all that they have
 * sealed, stay as they are. Each agency is one transaction: broken off, it goes on where it stopped.
 *
 * @throws KEY_UNAVAILABLE an old key encryption key is not configured
 */
export async function rewrapKeys(operator: KeyOperator): Promise<{ agency: string; rewrapped: number }[]> {
  const { encryption, contextKey } = operator;
  return underOperatorLock(operator, 'flux keys', async (admin) => {
    const done: { agency: string; rewrapped: number }[] = [];
    for (const { slug: agency } of await listAgencies(admin)) {
      const rewrapped = await asAgency(admin, contextKey, agency, async (tx) => {
        let count = 0;
        for (const { purpose, version, kekId, wrapped } of await listDataKeys(tx, agency)) {
          if (wrapped === null || kekId === null || kekId === encryption.id) continue;
          const context = { agency, purpose, version };
          const dataKey = await encryption.unwrap({ kekId, bytes: wrapped }, context);
          const again = await encryption.wrap(dataKey, context);
          await rewrapDataKey(tx, agency, { purpose, version, kekId: encryption.id, wrapped: again });
          count += 1;
        }
        if (count > 0) await auditKeys(tx, operator, agency, 'keys.rewrap');
        return count;
      });
      if (rewrapped > 0) done.push({ agency, rewrapped });
    }
    return done;
  });
}

/** Makes an agency's keys where it has none that lives. The caller's transaction is the agency's. @returns whether some were made */
export async function makeMissingKeys(tx: Connection, operator: KeyOperator, agency: string): Promise<boolean> {
  const keys = await listDataKeys(tx, agency);
  const missing = keyPurposes.filter((purpose) => !keys.some((key) => key.purpose === purpose && key.wrapped !== null));
  for (const purpose of missing) await makeKey(tx, operator, agency, purpose);
  if (missing.length > 0) await auditKeys(tx, operator, agency, 'keys.create');
  return missing.length > 0;
}

async function makeKey(
  tx: Connection,
  { encryption }: KeyOperator,
  agency: string,
  purpose: KeyPurpose,
): Promise<void> {
  const [newest] = await listDataKeys(tx, agency, purpose);
  // Where the present key does not unwrap, the key encryption key is another: what it wrapped would stand beside what it cannot open.
  if (newest?.wrapped && newest.kekId !== null) {
    await encryption.unwrap(
      { kekId: newest.kekId, bytes: newest.wrapped },
      { agency, purpose, version: newest.version },
    );
  }
  const version = (newest?.version ?? 0) + 1;
  const wrapped = await encryption.wrap(randomBytes(keyByteCount), { agency, purpose, version });
  await insertDataKey(tx, agency, { purpose, version, kekId: encryption.id, wrapped });
}

async function auditKeys(tx: Connection, { actor }: Operator, agency: string, action: string): Promise<void> {
  const keys = (await statesOf(tx, agency)).map(({ purpose, version, kekId, destroyedAt }) => ({
    purpose,
    version,
    kekId,
    destroyed: destroyedAt !== null,
  }));
  await appendAudit(tx, {
    actor,
    role: 'platform',
    action,
    resourceType: 'agency',
    resourceId: agency,
    success: true,
    after: { keys },
  });
}

async function statesOf(tx: Connection, agency: string): Promise<KeyState[]> {
  return (await listDataKeys(tx, agency)).map(({ wrapped: _wrapped, ...state }) => ({ agency, ...state }));
}

export async function requireOpen(admin: Connection, agency: string): Promise<void> {
  if ((await listAgencies(admin)).some(({ slug, open }) => slug === agency && open)) return;
  throw new FluxError('NOT_FOUND', `There is no agency ${agency}. See flux agencies list.`);
}
