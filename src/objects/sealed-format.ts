/**
 * A sealed object's file: a header, then segments.
 *
 *   0    8  "FLUXSEAL"
 *   8    4  version of the format, 1
 *   12   4  version of the data key
 *   16   4  bytes of content in each segment but the last
 *   20   7  nonce prefix, 5 zeros
 *   32  32  object id, random
 *   64  68  box: SHA-256 of the content (32) and its byte count (8), bound to the bytes before it and to the address
 *   132     segments, each with a tag of 16 bytes; an empty object has one empty segment
 *
 * Numbers are big-endian. Header and segments have keys of their own, derived from the agency's data key and the object id.
 */
import { boxOverhead, deriveKey, openBox, sealBox } from '../crypto/aead.ts';
import { randomBytes } from '../crypto/random.ts';
import { noncePrefixByteCount, type SegmentKey, segmentOverhead } from '../crypto/segments.ts';

/** An agency's key for its objects. */
export interface DataKey {
  version: number;
  /** 32 bytes. */
  key: Buffer;
}

/** All that is needed to read a sealed object, and nothing that opens another. */
export interface ObjectSeal extends SegmentKey {
  segmentBytes: number;
  /** Bytes of the content. */
  byteCount: number;
}

const magic = Buffer.from('FLUXSEAL');
const openByteCount = 64;
const digestByteCount = 32;
export const headerByteCount = openByteCount + digestByteCount + 8 + boxOverhead;
/** Large enough that a call costs nothing beside its bytes, small enough that a range of records costs what it holds. */
export const segmentBytesDefault = 1 << 18;

export interface NewSeal extends SegmentKey {
  segmentBytes: number;
  dataKey: DataKey;
}

/** A seal for a new object. */
export function newSeal(dataKey: DataKey, segmentBytes: number): NewSeal {
  const objectId = randomBytes(32);
  return {
    dataKey,
    segmentBytes,
    objectId,
    noncePrefix: randomBytes(noncePrefixByteCount),
    key: deriveKey(dataKey.key, objectId, 'flux object segments'),
  };
}

export function encodeHeader(
  seal: NewSeal,
  { address, sha256, byteCount }: { address: string; sha256: Buffer; byteCount: number },
): Buffer {
  const open = Buffer.alloc(openByteCount);
  open.set(magic, 0);
  open.writeUInt32BE(1, 8);
  open.writeUInt32BE(seal.dataKey.version, 12);
  open.writeUInt32BE(seal.segmentBytes, 16);
  open.set(seal.noncePrefix, 20);
  open.set(seal.objectId, 32);
  const content = Buffer.alloc(digestByteCount + 8);
  content.set(sha256, 0);
  content.writeBigUInt64BE(BigInt(byteCount), digestByteCount);
  const key = deriveKey(seal.dataKey.key, seal.objectId, 'flux object header');
  return Buffer.concat([open, sealBox(key, content, Buffer.concat([open, Buffer.from(address)]))]);
}

/** The version of the data key that sealed an object; null when the bytes begin no sealed object. */
export function keyVersionOf(header: Buffer): number | null {
  if (header.length < headerByteCount || !header.subarray(0, magic.length).equals(magic)) return null;
  return header.readUInt32BE(8) === 1 ? header.readUInt32BE(12) : null;
}

/** What a header says; null when it was changed, or belongs to another address or key. */
export function openHeader(
  header: Buffer,
  dataKey: DataKey,
  address: string,
): (ObjectSeal & { sha256: Buffer }) | null {
  const open = header.subarray(0, openByteCount);
  const objectId = Buffer.from(open.subarray(32));
  const key = deriveKey(dataKey.key, objectId, 'flux object header');
  const context = Buffer.concat([open, Buffer.from(address)]);
  const content = openBox(key, header.subarray(openByteCount, headerByteCount), context);
  if (!content) return null;
  return {
    objectId,
    noncePrefix: Buffer.from(open.subarray(20, 20 + noncePrefixByteCount)),
    key: deriveKey(dataKey.key, objectId, 'flux object segments'),
    segmentBytes: open.readUInt32BE(16),
    sha256: Buffer.from(content.subarray(0, digestByteCount)),
    byteCount: Number(content.readBigUInt64BE(digestByteCount)),
  };
}

/** Segments of a content; an empty one has one. */
export function segmentCountOf({ byteCount, segmentBytes }: { byteCount: number; segmentBytes: number }): number {
  return Math.max(1, Math.ceil(byteCount / segmentBytes));
}

/** Bytes of the file of a sealed object. */
export function sealedByteCount(of: { byteCount: number; segmentBytes: number }): number {
  return headerByteCount + of.byteCount + segmentCountOf(of) * segmentOverhead;
}
