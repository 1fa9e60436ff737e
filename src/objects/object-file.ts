/** One object's file: its content, sealed or plain, and what its header says. */
import { open } from 'node:fs/promises';

import { runningSha256 } from '../crypto/hash.ts';
import { FluxError } from '../errors.ts';
import type { GrowthWatch } from './growing.ts';
import { withNewFile } from './new-file.ts';
import type { StoredObject } from './object-store.ts';
import { writeSegments } from './sealed-file.ts';
import { type DataKey, encodeHeader, headerByteCount, newSeal } from './sealed-format.ts';

/** A new file with the bytes as they are, on disk when this returns. */
export async function writePlain(
  path: string,
  bytes: AsyncIterable<Uint8Array>,
  addressOf: (sha256: string) => string,
  watch?: GrowthWatch,
): Promise<StoredObject> {
  return withNewFile(path, async (file) => {
    watch?.begun({ path, seal: null, byteCount: watch.byteCount });
    const hash = runningSha256();
    let byteCount = 0;
    for await (const piece of bytes) {
      // The digest goes on while the system copies.
      const written = file.write(piece, byteCount);
      hash.update(piece);
      byteCount += piece.length;
      await written;
    }
    const sha256 = hash.digest().toString('hex');
    return { address: addressOf(sha256), sha256, byteCount, keyVersion: null };
  });
}

/** A new file with the bytes sealed on the way, on disk when this returns. */
export async function writeSealed(
  path: string,
  bytes: AsyncIterable<Uint8Array>,
  how: {
    dataKey: DataKey;
    segmentBytes: number;
    addressOf: (sha256: string) => string;
    watch?: GrowthWatch | undefined;
  },
): Promise<StoredObject> {
  return withNewFile(path, async (file) => {
    const { watch } = how;
    const seal = newSeal(how.dataKey, how.segmentBytes);
    watch?.begun({ path, seal: { ...seal, byteCount: watch.byteCount }, byteCount: watch.byteCount });
    const content = counted(bytes);
    await writeSegments(file, seal, content.bytes);
    const { sha256, byteCount } = content.counted();
    const address = how.addressOf(sha256.toString('hex'));
    await file.write(encodeHeader(seal, { address, sha256, byteCount }), 0);
    return { address, sha256: sha256.toString('hex'), byteCount, keyVersion: how.dataKey.version };
  });
}

/** The bytes as they pass, with their digest and count afterwards. */
function counted(bytes: AsyncIterable<Uint8Array>): {
  bytes: AsyncGenerator<Uint8Array, void, undefined>;
  counted(): { sha256: Buffer; byteCount: number };
} {
  const hash = runningSha256();
  let byteCount = 0;
  async function* pass(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of bytes) {
      hash.update(piece);
      byteCount += piece.byteLength;
      yield piece;
    }
  }
  return { bytes: pass(), counted: () => ({ sha256: hash.digest(), byteCount }) };
}

/** An object's first bytes, as many as a header has. @throws SOURCE_UNAVAILABLE there is no file */
export async function readHeader(path: string, address: string): Promise<Buffer> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new FluxError(
      'SOURCE_UNAVAILABLE',
      `The object ${address} is not there (${(cause as NodeJS.ErrnoException).code ?? String(cause)}). Check that every worker sees the object store.`,
      { cause },
    );
  });
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(headerByteCount), 0, headerByteCount, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
