import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

import { openSegment, sealSegment, type SegmentKey, segmentOverhead } from '../crypto/segments.ts';
import { FluxError } from '../errors.ts';
import type { ByteFile } from './byte-file.ts';
import { waiterForParent } from './growing.ts';
import type { NewFile } from './new-file.ts';
import { headerByteCount, type ObjectSeal, sealedByteCount, segmentCountOf } from './sealed-format.ts';

/**
 * Opens a sealed object for reading any range of its content: whole segments are read and verified, the newest one is kept.
 *
 * @param growing the parent of this process is still writing it: a read waits until its segments are there
 * @throws OBJECT_CORRUPTED here when the file is longer or shorter than sealed, from `readSync` when a segment does not verify
 */
export function openSealedFile(path: string, seal: ObjectSeal, { growing = false } = {}): ByteFile {
  const fd = openSync(path, 'r');
  const whole = sealedByteCount(seal);
  const found = fstatSync(fd).size;
  if (!growing && found !== whole) {
    closeSync(fd);
    throw corrupted(`its file has ${String(found)} bytes, ${String(whole)} were sealed`);
  }
  const wait = growing ? waiterForParent() : null;
  const last = segmentCountOf(seal) - 1;
  const sealed = Buffer.allocUnsafe(seal.segmentBytes + segmentOverhead);
  let newest: { index: number; content: Buffer } | null = null;
  const segment = (index: number): Buffer => {
    if (newest?.index === index) return newest.content;
    const at = headerByteCount + index * sealed.length;
    const length = Math.min(sealed.length, whole - at);
    for (let read = 0; read < length;) {
      const count = readSync(fd, sealed, read, length - read, at + read);
      if (count === 0 && wait === null) throw corrupted(`its file ends inside segment ${String(index)}`);
      if (count === 0) wait?.();
      read += count;
    }
    const content = openSegment(seal, { index, last: index === last }, sealed.subarray(0, length));
    if (!content) throw corrupted(`segment ${String(index)} of ${String(last + 1)} does not verify`);
    newest = { index, content };
    return content;
  };
  return {
    size: seal.byteCount,
    readSync(buffer, offset, length, position) {
      const wanted = Math.min(length, seal.byteCount - position);
      let given = 0;
      while (given < wanted) {
        const at = position + given;
        const index = Math.floor(at / seal.segmentBytes);
        const inside = at - index * seal.segmentBytes;
        given += segment(index).copy(
          buffer,
          offset + given,
          inside,
          Math.min(seal.segmentBytes, inside + wanted - given),
        );
      }
      return Math.max(0, given);
    },
    close: () => closeSync(fd),
  };
}

/** A sealed object's content as a stream, verified segment by segment. @throws OBJECT_CORRUPTED */
export async function* readSealed(path: string, seal: ObjectSeal): AsyncGenerator<Uint8Array, void, undefined> {
  const file = openSealedFile(path, seal);
  try {
    for (let at = 0; at < file.size;) {
      const piece = Buffer.allocUnsafe(Math.min(seal.segmentBytes, file.size - at));
      at += file.readSync(piece, 0, piece.length, at);
      yield piece;
      await new Promise(setImmediate); // heartbeats go between the segments
    }
  } finally {
    file.close();
  }
}

/** Writes content in sealed segments behind the place of the header, which is known only when the content has ended. */
export async function writeSegments(
  file: NewFile,
  seal: SegmentKey & { segmentBytes: number },
  content: AsyncIterable<Uint8Array>,
): Promise<void> {
  let at = headerByteCount;
  let index = 0;
  let writing = Promise.resolve();
  /** One segment is sealed while the one before it is written. */
  const write = async (segment: Buffer, last: boolean): Promise<void> => {
    const sealed = sealSegment(seal, { index, last }, segment);
    const before = writing;
    const position = at;
    at += sealed.length;
    index += 1;
    await before;
    writing = file.write(sealed, position);
    // Awaited with the next segment, or at the end; until then a failure must not count as unhandled.
    writing.catch(() => undefined);
  };
  const segment = Buffer.allocUnsafe(seal.segmentBytes);
  let used = 0;
  try {
    for await (const piece of content) {
      for (let taken = 0; taken < piece.length;) {
        // A full segment waits for one more byte: only then is it known not to be the last.
        if (used === segment.length) {
          await write(segment, false);
          used = 0;
        }
        const part = piece.subarray(taken, taken + segment.length - used);
        segment.set(part, used);
        used += part.length;
        taken += part.length;
      }
    }
    await write(segment.subarray(0, used), true);
  } finally {
    // Whoever closes the file after a failure closes it under no write.
    await writing.catch(() => undefined);
  }
  await writing;
}

export function corrupted(why: string): FluxError {
  return new FluxError(
    'OBJECT_CORRUPTED',
    `A sealed object does not verify: ${why}. It was changed, cut, or put in another's place; restore it from a backup.`,
  );
}
