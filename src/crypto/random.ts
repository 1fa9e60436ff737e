/** Random values, all from OpenSSL's generator (SP 800-90A): fit for keys, nonces and names that nobody may guess. */
import { randomBytes as bytes, randomUUID } from 'node:crypto';

export function randomBytes(byteCount: number): Buffer {
  return bytes(byteCount);
}

/** Lower-case hex, two characters a byte. */
export function randomHex(byteCount: number): string {
  return bytes(byteCount).toString('hex');
}

/** A version 4 UUID (RFC 9562): 122 random bits. */
export function randomUuid(): string {
  return randomUUID();
}
