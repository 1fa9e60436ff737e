/** AES-256-GCM (SP 800-38D) with 96-bit nonces and 128-bit tags, and the keys derived for it. */
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';

import { randomBytes } from './random.ts';

const cipher = 'aes-256-gcm';
export const keyByteCount = 32;
const nonceByteCount = 12;
export const tagByteCount = 16;
/** A key's 32 bytes; or the key as `prepareKey` made it. */
export type AeadKey = Uint8Array | KeyObject;
/** What a box has besides its content. */
export const boxOverhead = nonceByteCount + tagByteCount;

/**
 * Seals a small text: nonce, ciphertext, tag. The nonce is random, so that one key may seal 2^32 of them (SP 800-38D 8.3).
 *
 * @param context authenticated with it, not stored: the place where the box belongs, so that a moved box does not open
 */
export function sealBox(key: AeadKey, content: Uint8Array, context: Uint8Array): Buffer {
  const nonce = randomBytes(nonceByteCount);
  return Buffer.concat([nonce, sealWith(key, nonce, content, context)]);
}

/** The content; null when the box was changed, belongs elsewhere, or was sealed with another key. */
export function openBox(key: AeadKey, box: Uint8Array, context: Uint8Array): Buffer | null {
  if (box.length < boxOverhead) return null;
  return openWith(key, box.subarray(0, nonceByteCount), box.subarray(nonceByteCount), context);
}

/** Ciphertext and tag under a nonce that the caller never uses again with this key. */
export function sealWith(key: AeadKey, nonce: Uint8Array, content: Uint8Array, context: Uint8Array): Buffer {
  const sealing = createCipheriv(cipher, key, nonce, { authTagLength: tagByteCount });
  sealing.setAAD(context);
  return Buffer.concat([sealing.update(content), sealing.final(), sealing.getAuthTag()]);
}

/** The content of ciphertext and tag; null when they do not verify. Nothing unverified is ever given out. */
export function openWith(key: AeadKey, nonce: Uint8Array, sealed: Uint8Array, context: Uint8Array): Buffer | null {
  if (sealed.length < tagByteCount) return null;
  const opening = createDecipheriv(cipher, key, nonce, { authTagLength: tagByteCount });
  opening.setAAD(context);
  opening.setAuthTag(sealed.subarray(sealed.length - tagByteCount));
  const content = opening.update(sealed.subarray(0, sealed.length - tagByteCount));
  try {
    opening.final();
    return content;
  } catch {
    return null;
  }
}

/** A key that seals many small boxes: made ready once, which is most of what a small box costs. */
export function prepareKey(key: Uint8Array): KeyObject {
  return createSecretKey(key);
}

/**
 * A key of 32 bytes for one purpose: HKDF-SHA-256 (RFC 5869, SP 800-56C).
 *
 * @param salt what tells apart the uses of one purpose: an object's id, a run's
 * @param purpose a label of its own for every purpose
 */
export function deriveKey(key: Uint8Array, salt: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, purpose, keyByteCount));
}
