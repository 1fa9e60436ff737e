import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';

/** HMAC-SHA-256 (FIPS 198-1) over the parts one after another, 32 bytes. A string counts as its UTF-8 bytes. */
export function hmacSha256(key: Uint8Array | KeyObject, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const running = createHmac('sha256', key);
  for (const part of parts) running.update(part);
  return running.digest();
}

const prepared = new WeakMap<Uint8Array, KeyObject>();

/**
 * The same for a key that is used again and again and whose bytes never change: it is prepared once, which is most of what a
 * short text's HMAC costs.
 */
export function hmacSha256Kept(key: Uint8Array, ...parts: readonly (string | Uint8Array)[]): Buffer {
  let ready = prepared.get(key);
  if (!ready) {
    ready = createSecretKey(key);
    prepared.set(key, ready);
  }
  return hmacSha256(ready, ...parts);
}

/** Whether two secrets are equal, in a time that tells nothing about where they differ. */
export function equalSecrets(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}
