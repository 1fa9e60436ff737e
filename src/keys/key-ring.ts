import { type KeyPurpose, listDataKeys, type WrappedDataKey } from '../db/data-keys.ts';
import type { Queryable } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import { type KeyEncryption, nameOf } from './key-encryption.ts';

/** A data key, unwrapped. */
export interface DataKey {
  version: number;
  /** 32 bytes. */
  key: Buffer;
}

/** The data keys that a process works with. Reads them as whom `db` is: row-level security decides which exist. */
export interface KeyRing {
  /** Whether new content is sealed (FLUX_ENCRYPTION); what is sealed already opens in any case. */
  readonly seals: boolean;
  /** What seals now. @throws KEY_UNAVAILABLE the agency has no key, or none that unwraps */
  newest(db: Queryable, agency: string, purpose: KeyPurpose): Promise<DataKey>;
  /** What opens. @throws KEY_UNAVAILABLE it is destroyed, unknown, or does not unwrap */
  ofVersion(db: Queryable, agency: string, purpose: KeyPurpose, version: number): Promise<DataKey>;
}

/**
 * How long an unwrapped key is used without asking the database again: as long a destroyed key may still open things in a
 * process that had it, and as long a superseded one may still seal.
 */
export const keyCacheMs = 30_000;

export function createKeyRing(
  encryption: KeyEncryption,
  options: { seals?: boolean; cacheMs?: number; now?: () => number } = {},
): KeyRing {
  const { seals = true, cacheMs = keyCacheMs, now = () => performance.now() } = options;
  const known = new Map<string, { readAt: number; rows: WrappedDataKey[]; keys: Map<number, Promise<DataKey>> }>();

  async function read(db: Queryable, agency: string, purpose: KeyPurpose, atLeast: number) {
    const name = `${purpose} ${agency}`;
    const found = known.get(name);
    if (found && now() - found.readAt < cacheMs && (found.rows[0]?.version ?? 0) >= atLeast) return found;
    const rows = await listDataKeys(db, agency, purpose);
    const kept = { readAt: now(), rows, keys: new Map<number, Promise<DataKey>>() };
    // That an agency has no key is not remembered: the next moment it may.
    if (rows.length > 0) known.set(name, kept);
    return kept;
  }

  async function unwrap(agency: string, { purpose, version, kekId, wrapped }: WrappedDataKey): Promise<DataKey> {
    const context = { agency, purpose, version };
    if (!wrapped || kekId === null) {
      throw new FluxError(
        'KEY_UNAVAILABLE',
        `The ${nameOf(context)} is destroyed; what it sealed cannot be read any more.`,
      );
    }
    return { version, key: await encryption.unwrap({ kekId, bytes: wrapped }, context) };
  }

  async function get(db: Queryable, agency: string, purpose: KeyPurpose, version: number | null): Promise<DataKey> {
    const { rows, keys } = await read(db, agency, purpose, version ?? 0);
    const row = version === null ? rows[0] : rows.find((one) => one.version === version);
    if (!row) {
      throw new FluxError(
        'KEY_UNAVAILABLE',
        version === null
          ? `Agency ${agency} has no data key for ${purpose}. The platform's operator makes one: flux keys ensure.`
          : `There is no ${nameOf({ agency, purpose, version })}.`,
      );
    }
    const present = keys.get(row.version);
    if (present) return present;
    const unwrapped = unwrap(agency, row);
    keys.set(row.version, unwrapped);
    unwrapped.catch(() => keys.delete(row.version));
    return unwrapped;
  }

  return {
    seals,
    newest: (db, agency, purpose) => get(db, agency, purpose, null),
    ofVersion: (db, agency, purpose, version) => get(db, agency, purpose, version),
  };
}
