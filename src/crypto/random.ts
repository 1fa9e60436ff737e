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

/** A version 7 UUID of the current millisecond (RFC 9562 section 5.7), by this process's clock. */
export function timeOrderedUuid(): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
