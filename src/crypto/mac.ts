import { createHmac, timingSafeEqual } from 'node:crypto';

/** HMAC-SHA-256 (FIPS 198-1) over the parts one after another, 32 bytes. A string counts as its UTF-8 bytes. */
export function hmacSha256(key: Uint8Array, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const running = createHmac('sha256', key);
  for (const part of parts) running.update(part);
  return running.digest();
}

/** Whether two secrets are equal, in a time that tells nothing about where they differ. */
export function equalSecrets(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}
