/**
 * Sealing of long content in segments: the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, "Online
 * Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance" (CRYPTO 2015), with AES-256-GCM. A segment's nonce is a
 * prefix of 7 bytes, its index in 4 and whether it is the last in 1, so that segments that were cut off, swapped, repeated or
 * taken from another object do not verify, and any of them can be read without the others.
 */
import { openWith, sealWith, tagByteCount } from './aead.ts';

/** One object's own; both are used for nothing else. */
export interface SegmentKey {
  /** 32 bytes. */
  key: Uint8Array;
  /** 7 bytes. */
  noncePrefix: Uint8Array;
  /** Names the object; authenticated with every segment. */
  objectId: Uint8Array;
}

export interface SegmentPlace {
  /** From 0, below 2^32. */
  index: number;
  last: boolean;
}

export const noncePrefixByteCount = 7;
export const segmentOverhead = tagByteCount;

export function sealSegment(of: SegmentKey, place: SegmentPlace, content: Uint8Array): Buffer {
  return sealWith(of.key, nonceOf(of, place), content, contextOf(of, place));
}

/** The content; null when the bytes are not that object's segment at that place. */
export function openSegment(of: SegmentKey, place: SegmentPlace, sealed: Uint8Array): Buffer | null {
  return openWith(of.key, nonceOf(of, place), sealed, contextOf(of, place));
}

function nonceOf({ noncePrefix }: SegmentKey, { index, last }: SegmentPlace): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.set(noncePrefix, 0);
  nonce.writeUInt32BE(index, noncePrefixByteCount); // throws beyond 2^32, where a nonce would come again
  nonce[11] = last ? 1 : 0;
  return nonce;
}

function contextOf({ objectId }: SegmentKey, { index, last }: SegmentPlace): Buffer {
  const context = Buffer.alloc(objectId.length + 5);
  context.set(objectId, 0);
  context.writeUInt32BE(index, objectId.length);
  context[objectId.length + 4] = last ? 1 : 0;
  return context;
}
