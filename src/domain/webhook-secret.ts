import { boxOverhead, deriveKey, openBox } from '../crypto/aead.ts';
import { randomBytes } from '../crypto/random.ts';
import type { Queryable } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import * as sealedRecords from '../keys/sealed-records.ts';
import type { WebhookPlace } from '../keys/sealed-records.ts';

const prefix = 'whsec_';
const secretBytes = 32;

/** What opens webhooks' secrets: the agency's data keys, and for those from before the installation's own. */
export interface SecretOpener {
  keys: KeyRing;
  db: Queryable;
  /** FLUX_DATA_KEY, and those before it. */
  dataKeys: readonly Buffer[];
}

/** A new secret as its receiver gets it (Standard Webhooks): `whsec_` and 32 random bytes in base64. */
export function newWebhookSecret(): string {
  return `${prefix}${randomBytes(secretBytes).toString('base64')}`;
}

/**
 * Seals a secret under the agency's newest key for records, whether or not the installation seals what runs leave: a secret is
 * never kept in plain.
 *
 * @throws KEY_UNAVAILABLE the agency has no key
 */
export async function sealWebhookSecret(
  { keys, db }: { keys: KeyRing; db: Queryable },
  place: WebhookPlace,
  secret: string,
): Promise<Buffer> {
  const bytes = Buffer.from(secret.slice(prefix.length), 'base64');
  return sealedRecords.sealWebhookSecret(await keys.newest(db, place.agency, 'records'), place, bytes);
}

/**
 * The secret's bytes, the key of its signatures.
 *
 * @throws OBJECT_CORRUPTED it was changed, or is another webhook's
 * @throws KEY_UNAVAILABLE its data key is destroyed, or FLUX_DATA_KEY is another
 */
export async function openWebhookSecret(opener: SecretOpener, place: WebhookPlace, sealed: Buffer): Promise<Buffer> {
  if (!isUnderDataKey(sealed)) return sealedRecords.openWebhookSecret(opener, place, sealed);
  for (const dataKey of opener.dataKeys) {
    const key = deriveKey(dataKey, Buffer.from(place.agency), 'flux webhook secret');
    const opened = openBox(key, sealed, Buffer.from(`${place.agency}\0${place.webhookId}`));
    if (opened) return opened;
  }
  throw new FluxError(
    'KEY_UNAVAILABLE',
    `The secret of webhook ${place.webhookId} does not open with this FLUX_DATA_KEY. Give the old key as FLUX_DATA_KEY_PREVIOUS.`,
  );
}

/** Whether a secret is sealed as they were before they came under the agency's keys; `flux keys reencrypt` moves it. */
export function isUnderDataKey(sealed: Buffer): boolean {
  return sealed.length === secretBytes + boxOverhead;
}

export function shownWebhookSecret(bytes: Buffer): string {
  return `${prefix}${bytes.toString('base64')}`;
}
