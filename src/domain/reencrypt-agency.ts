import { appendAudit } from '../audit/append.ts';
import { connectAdmin } from '../db/connect-admin.ts';
import { underStructureLock } from '../db/migrate.ts';
import type { Connection } from '../db/pool.ts';
import * as statements from '../db/reencryption.ts';
import { type ErrorCode, isFluxError } from '../errors.ts';
import { createKeyRing, type DataKey, type KeyRing } from '../keys/key-ring.ts';
import {
  openConnectionSecret,
  openPayload,
  openRejected,
  sealConnectionSecret,
  sealPayload,
  sealRejected,
  sealWebhookSecret,
} from '../keys/sealed-records.ts';
import { type KeyOperator, requireOpen } from './manage-keys.ts';
import { asAgency } from './operator.ts';
import { openNames, withoutContent } from './run-payload.ts';
import { openWebhookSecret } from './webhook-secret.ts';

/** The object store, as far as re-encryption needs it (objects/agency-objects.ts). */
export interface ResealedObjects {
  /** @throws OBJECT_CORRUPTED, KEY_UNAVAILABLE, SOURCE_UNAVAILABLE */
  reseal(
    object: { address: string; sha256: string },
    keys: { keyOf: (version: number) => Promise<DataKey>; to: DataKey },
  ): Promise<{ address: string; keyVersion: number | null }>;
}

export interface Reencryption {
  agency: string;
  /** Whether content that was stored plain is sealed too (FLUX_ENCRYPTION). */
  plain: boolean;
  /** FLUX_DATA_KEY and those before it: of webhooks' secrets from before they came under the agency's keys. */
  dataKeys: readonly Buffer[];
  /** Ends it after the batch at hand. */
  signal?: AbortSignal;
  /** Told after every batch, once it is committed. */
  onBatch?(kind: Kind, count: number): void;
  /** Of one transaction. */
  batch?: { objects?: number; rows?: number };
}

type Kind = keyof statements.UnderOldKeys;

export interface Reencrypted {
  agency: string;
  /** What was moved under the newest keys. */
  moved: statements.UnderOldKeys;
  /** What is under older keys still: held by work that went on meanwhile, or not to be opened. */
  left: statements.UnderOldKeys;
  /** What cannot be opened and stays as it is: where, and the code of the failure. */
  unreadable: readonly { what: string; code: string }[];
}

const usualBatch = { objects: 20, rows: 200 };
const unreadableCodes = new Set<ErrorCode>(['OBJECT_CORRUPTED', 'KEY_UNAVAILABLE', 'SOURCE_UNAVAILABLE']);
/** Rows that others held are come back for this many times. */
const passesMax = 5;

/**
 * Puts all that an agency's older keys have sealed under its newest ones: pinned and staged objects, payloads, refused records,
 * secrets of webhooks and connections. Each batch is one transaction with its audit entry, and between two the operator's lock is free. Broken
 * off at any moment it loses nothing and goes on when it is asked again: a row names its old object until the new one is whole
 * on the disk, and old files expire by retention, after every step that may be reading them.
 *
 * @throws NOT_FOUND there is no such agency, or it was removed
 * @throws KEY_UNAVAILABLE the newest key is not to be had
 */
export async function reencryptAgency(
  operator: KeyOperator,
  objects: ResealedObjects,
  asked: Reencryption,
): Promise<Reencrypted> {
  const admin = await connectAdmin(operator.adminUrl, 'flux keys reencrypt');
  try {
    return await new Reencrypting(admin, operator, objects, asked).run();
  } finally {
    await admin.end();
  }
}

class Reencrypting {
  readonly #admin: Connection;
  readonly #operator: KeyOperator;
  readonly #objects: ResealedObjects;
  readonly #asked: Reencryption;
  readonly #keys: KeyRing;
  readonly #moved: statements.UnderOldKeys = { objects: 0, payloads: 0, records: 0, secrets: 0 };
  readonly #unreadable = new Map<string, string>();

  constructor(admin: Connection, operator: KeyOperator, objects: ResealedObjects, asked: Reencryption) {
    this.#admin = admin;
    this.#operator = operator;
    this.#objects = objects;
    this.#asked = asked;
    // A rotation by somebody else counts from the next batch on.
    this.#keys = createKeyRing(operator.encryption, { cacheMs: 0 });
  }

  async run(): Promise<Reencrypted> {
    const { agency, signal } = this.#asked;
    await underStructureLock(this.#admin, () => requireOpen(this.#admin, agency));
    for (let pass = 0; pass < passesMax && !signal?.aborted; pass += 1) {
      const before = totalOf(this.#moved);
      await this.#through((after: string) => this.#moveObjects(after), '');
      await this.#through((after: string | null) => this.#sealPayloads(after), null);
      await this.#through((after: RejectedPlace | null) => this.#sealRecords(after), null);
      await this.#through(() => this.#sealSecrets(), null);
      if (totalOf(this.#moved) === before) break;
    }
    const left = await this.#inBatch(async (tx) => {
      const [objects, records] = [await this.#newest(tx, 'objects'), await this.#newest(tx, 'records')];
      return statements.countUnderOldKeys(tx, agency, { objects: objects.version, records: records.version });
    });
    const unreadable = [...this.#unreadable].map(([what, code]) => ({ what, code }));
    return { agency, moved: this.#moved, left, unreadable };
  }

  /** One kind from its beginning, batch by batch, each under the operator's lock; every step says where the next begins. */
  async #through<Place>(step: (after: Place) => Promise<Place | undefined>, from: Place): Promise<void> {
    for (let after: Place | undefined = from; after !== undefined && !this.#asked.signal?.aborted;) {
      const place: Place = after;
      after = await underStructureLock(this.#admin, () => step(place));
    }
  }

  #inBatch<T>(work: (tx: Connection) => Promise<T>): Promise<T> {
    return asAgency(this.#admin, this.#operator.contextKey, this.#asked.agency, work);
  }

  #newest(tx: Connection, purpose: 'objects' | 'records'): Promise<DataKey> {
    return this.#keys.newest(tx, this.#asked.agency, purpose);
  }

  #batchOf(version: number, kind: 'objects' | 'rows'): statements.Batch {
    const { agency, plain, batch } = this.#asked;
    return { agency, version, plain, limit: batch?.[kind] ?? usualBatch[kind] };
  }

  /** The bytes go first, outside of any transaction; then one transaction lets all rows name them. */
  async #moveObjects(after: string): Promise<string | undefined> {
    const { agency } = this.#asked;
    const { to, old } = await this.#inBatch(async (tx) => {
      const newest = await this.#newest(tx, 'objects');
      return { to: newest, old: await statements.listOldObjects(tx, this.#batchOf(newest.version, 'objects'), after) };
    });
    const keyOf = (version: number): Promise<DataKey> =>
      this.#inBatch((tx) => this.#keys.ofVersion(tx, agency, 'objects', version));
    const moved: statements.MovedObject[] = [];
    for (const { address, sha256 } of old) {
      await this.#readable(`object ${address}`, async () => {
        const stored = await this.#objects.reseal({ address, sha256 }, { keyOf, to });
        moved.push({ from: address, to: stored.address, keyVersion: to.version });
      });
    }
    if (moved.length > 0) {
      await this.#inBatch(async (tx) => {
        await statements.moveObjects(tx, agency, moved);
        await this.#audit(tx, 'objects', to.version, moved.length);
      });
      this.#done('objects', moved.length);
    }
    return old.at(-1)?.address;
  }

  async #sealPayloads(after: string | null): Promise<string | undefined> {
    const { agency } = this.#asked;
    return this.#rows('payloads', async (tx, key, opener) => {
      const rows = await statements.lockOldPayloads(tx, this.#batchOf(key.version, 'rows'), after, openNames);
      let count = 0;
      for (const { runId, payload, sealed } of rows) {
        await this.#readable(`payload of run ${runId}`, async () => {
          const whole = sealed === null ? payload : await openPayload(opener, { agency, runId }, sealed);
          const again = sealPayload(key, { agency, runId }, whole);
          await statements.replacePayload(tx, agency, { runId, payload: withoutContent(whole), sealed: again });
          count += 1;
        });
      }
      return { count, next: rows.at(-1)?.runId };
    });
  }

  async #sealRecords(after: RejectedPlace | null): Promise<RejectedPlace | undefined> {
    const { agency } = this.#asked;
    return this.#rows('records', async (tx, key, opener) => {
      const rows = await statements.lockOldRejected(tx, this.#batchOf(key.version, 'rows'), after);
      const again: { runId: string; recordNo: bigint; sealed: Buffer }[] = [];
      for (const { runId, recordNo, raw, reasons, sealed, ...row } of rows) {
        const place = { agency, recordNo, ...row };
        await this.#readable(`refused record ${String(recordNo)} of run ${runId}`, async () => {
          const content = sealed === null ? { raw, reasons } : await openRejected(opener, place, sealed);
          again.push({ runId, recordNo, sealed: sealRejected(key, place, content) });
        });
      }
      if (again.length > 0) await statements.replaceRejected(tx, agency, again);
      const last = rows.at(-1);
      return { count: again.length, next: last && { runId: last.runId, recordNo: last.recordNo } };
    });
  }

  /** All at once: an agency has few webhooks and connections. */
  async #sealSecrets(): Promise<undefined> {
    const { agency, dataKeys } = this.#asked;
    await this.#rows('secrets', async (tx, key, opener) => {
      let count = 0;
      for (const row of await statements.lockOldSecrets(tx, this.#batchOf(key.version, 'rows'))) {
        const place = { agency, webhookId: row.webhookId };
        const again = async (sealed: Buffer): Promise<Buffer> =>
          sealWebhookSecret(key, place, await openWebhookSecret({ ...opener, dataKeys }, place, sealed));
        await this.#readable(`secret of webhook ${row.webhookId}`, async () => {
          const secret = await again(row.secret);
          const previousSecret = row.previousSecret && (await again(row.previousSecret));
          await statements.replaceSecrets(tx, agency, { ...row, secret, previousSecret });
          count += 1;
        });
      }
      for (const row of await statements.lockOldConnectionSecrets(tx, this.#batchOf(key.version, 'rows'))) {
        const place = { agency, connection: row.name, kind: row.kind };
        await this.#readable(`secret of connection ${row.name}`, async () => {
          const again = sealConnectionSecret(key, place, await openConnectionSecret(opener, place, row.secret));
          await statements.replaceConnectionSecret(tx, agency, { ...row, secret: again });
          count += 1;
        });
      }
      return { count, next: undefined };
    });
    return undefined;
  }

  async #rows<Place>(
    kind: Exclude<Kind, 'objects'>,
    work: (
      tx: Connection,
      key: DataKey,
      opener: { keys: KeyRing; db: Connection },
    ) => Promise<{ count: number; next: Place | undefined }>,
  ): Promise<Place | undefined> {
    const { count, next } = await this.#inBatch(async (tx) => {
      const key = await this.#newest(tx, 'records');
      const worked = await work(tx, key, { keys: this.#keys, db: tx });
      if (worked.count > 0) await this.#audit(tx, kind, key.version, worked.count);
      return worked;
    });
    this.#done(kind, count);
    return next;
  }

  /** What does not open is told at the end and keeps nothing else back; it stays as it is. */
  async #readable(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      if (!isFluxError(cause) || !unreadableCodes.has(cause.code)) throw cause;
      this.#unreadable.set(what, cause.code);
    }
  }

  #done(kind: Kind, count: number): void {
    this.#moved[kind] += count;
    if (count > 0) this.#asked.onBatch?.(kind, count);
  }

  async #audit(tx: Connection, kind: Kind, version: number, count: number): Promise<void> {
    await appendAudit(tx, {
      actor: this.#operator.actor,
      role: 'platform',
      action: 'keys.reencrypt',
      resourceType: 'agency',
      resourceId: this.#asked.agency,
      success: true,
      after: { kind, count, keyVersion: version },
    });
  }
}

function totalOf({ objects, payloads, records, secrets }: statements.UnderOldKeys): number {
  return objects + payloads + records + secrets;
}

type RejectedPlace = Pick<statements.RejectedRow, 'runId' | 'recordNo'>;
