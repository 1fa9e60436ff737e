import { deriveKey, openBox, sealBox } from '../crypto/aead.ts';
import { randomBytes } from '../crypto/random.ts';
import { FluxError } from '../errors.ts';

const prefix = 'whsec_';
const secretBytes = 32;

/** Which webhook a secret is of: one that was moved to another does not open. */
export interface SecretPlace {
  agency: string;
  webhookId: string;
}

/** A new secret as its receiver gets it (Standard Webhooks): `whsec_` and 32 random bytes in base64. */
export function newWebhookSecret(): string {
  return `${prefix}${randomBytes(secretBytes).toString('base64')}`;
}

/** @param dataKey FLUX_DATA_KEY, from which each agency has a key of its own */
export function sealWebhookSecret(dataKey: Buffer, place: SecretPlace, secret: string): Buffer {
  return sealBox(keyOf(dataKey, place), Buffer.from(secret.slice(prefix.length), 'base64'), contextOf(place));
}

/** The secret's bytes, the key of its signatures. @throws INTERNAL it does not open: another FLUX_DATA_KEY, or changed bytes */
export function openWebhookSecret(dataKey: Buffer, place: SecretPlace, sealed: Buffer): Buffer {
  const opened = openBox(keyOf(dataKey, place), sealed, contextOf(place));
  if (opened) return opened;
  throw new FluxError('INTERNAL', `The secret of webhook ${place.webhookId} does not open with this FLUX_DATA_KEY.`);
}

export function shownWebhookSecret(bytes: Buffer): string {
  return `${prefix}${bytes.toString('base64')}`;
}

function keyOf(dataKey: Buffer, { agency }: SecretPlace): Buffer {
  return deriveKey(dataKey, Buffer.from(agency), 'flux webhook secret');
}

function contextOf({ agency, webhookId }: SecretPlace): Buffer {
  return Buffer.from(`${agency}\0${webhookId}`);
}
