import { type FileHandle, mkdir, open, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { deriveKey } from '../crypto/aead.ts';
import { runningSha256 } from '../crypto/hash.ts';
import { hmacSha256 } from '../crypto/mac.ts';
import { randomUuid } from '../crypto/random.ts';
import { FluxError } from '../errors.ts';
import { corrupted, openSealedFile, writeSegments } from './sealed-file.ts';
import {
  type DataKey,
  encodeHeader,
  headerByteCount,
  keyVersionOf,
  newSeal,
  type ObjectSeal,
  openHeader,
  segmentBytesDefault,
} from './sealed-format.ts';

export type { DataKey, ObjectSeal } from './sealed-format.ts';

/**
 * Content-addressed store in a folder. An address is `<agency>/<HMAC-SHA-256 hex>`: keyed per agency, so that equal bytes of
 * two agencies are two objects and an address reveals nothing about its content to who lacks the key.
 *
 * An object is there whole or not at all: bytes go to a temporary file, are synced, and are renamed into place. With a data
 * key they are sealed on the way, and no plain byte reaches the disk.
 */
export interface ObjectStore {
  /**
   * Stores the bytes and says where they are. Storing the same bytes again under the same key gives the same address.
   *
   * @param dataKey the agency's newest key for objects; null stores plain bytes
   * @throws whatever `bytes` throws; then nothing is left behind
   */
  put(agency: string, bytes: AsyncIterable<Uint8Array>, dataKey?: DataKey | null): Promise<StoredObject>;
  /** Says that an object is about to be used again, so that retention leaves it. @returns whether it is there */
  keep(address: string): Promise<boolean>;
  /** The local file of an address; it may not exist. @throws INTERNAL the address is not one of this store's */
  pathOf(address: string): string;
  /**
   * How to read an object: its seal, or null when it is plain.
   *
   * @param keyOf the agency's data key of a version
   * @throws OBJECT_CORRUPTED its header does not verify at this address
   * @throws SOURCE_UNAVAILABLE it is not there
   */
  sealOf(address: string, keyOf: (version: number) => Promise<DataKey>): Promise<FoundSeal | null>;
}

export interface StoredObject {
  address: string;
  /** Lower-case hex, of the content. */
  sha256: string;
  /** Of the content. */
  byteCount: number;
  /** The version of the data key that sealed it; null for plain bytes. */
  keyVersion: number | null;
}

/** An object's seal, with what its header says of the content. */
export interface FoundSeal extends ObjectSeal {
  sha256: Buffer;
}

const addressPattern = /^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]\/[0-9a-f]{64}$/;

/** @param dataKey 32 bytes (FLUX_DATA_KEY), which keys the addresses of plain objects */
export function createFileStore({
  folder,
  dataKey,
  segmentBytes = segmentBytesDefault,
}: {
  folder: string;
  dataKey: Buffer;
  /** For tests: small segments meet every boundary. */
  segmentBytes?: number;
}): ObjectStore {
  const pathOf = (address: string): string => {
    if (!addressPattern.test(address))
      throw new FluxError('INTERNAL', `Expected an object address, found "${address}".`);
    const [agency = '', digest = ''] = address.split('/');
    return join(folder, agency, digest.slice(0, 2), digest);
  };

  return {
    pathOf,
    async put(agency, bytes, sealing = null) {
      const partial = join(folder, 'partial', randomUuid());
      await mkdir(dirname(partial), { recursive: true, mode: 0o700 });
      const addressKey = sealing
        ? deriveKey(sealing.key, Buffer.from(agency), 'flux object address')
        : hmacSha256(dataKey, `flux object address\0${agency}`);
      const addressOf = (sha256: string): string => `${agency}/${hmacSha256(addressKey, sha256).toString('hex')}`;
      try {
        const stored = await (sealing
          ? writeSealed(partial, bytes, { dataKey: sealing, segmentBytes, addressOf })
          : writePlain(partial, bytes, addressOf));
        const path = pathOf(stored.address);
        if (await isWhole(path, stored, sealing)) await markUsed(path);
        else await moveInto(partial, path);
        return stored;
      } finally {
        await rm(partial, { force: true });
      }
    },
    async keep(address) {
      try {
        await markUsed(pathOf(address));
        return true;
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return false;
        throw cause;
      }
    },
    async sealOf(address, keyOf) {
      const header = await readHeader(pathOf(address), address);
      const version = keyVersionOf(header);
      if (version === null) return null;
      const seal = openHeader(header, await keyOf(version), address);
      if (!seal) throw corrupted(`the header of ${address} does not verify`);
      return seal;
    },
  };
}

/** Retention leaves alone what was stored again lately. */
async function markUsed(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now);
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

async function writePlain(
  path: string,
  bytes: AsyncIterable<Uint8Array>,
  addressOf: (sha256: string) => string,
): Promise<StoredObject> {
  return withNewFile(path, async (file) => {
    const content = counted(bytes);
    for await (const piece of content.bytes) await file.writeFile(piece);
    const { sha256, byteCount } = content.counted();
    return { address: addressOf(sha256.toString('hex')), sha256: sha256.toString('hex'), byteCount, keyVersion: null };
  });
}

async function writeSealed(
  path: string,
  bytes: AsyncIterable<Uint8Array>,
  how: { dataKey: DataKey; segmentBytes: number; addressOf: (sha256: string) => string },
): Promise<StoredObject> {
  return withNewFile(path, async (file) => {
    const seal = newSeal(how.dataKey, how.segmentBytes);
    const content = counted(bytes);
    await writeSegments(file, seal, content.bytes);
    const { sha256, byteCount } = content.counted();
    const address = how.addressOf(sha256.toString('hex'));
    await file.write(encodeHeader(seal, { address, sha256, byteCount }), 0, headerByteCount, 0);
    return { address, sha256: sha256.toString('hex'), byteCount, keyVersion: how.dataKey.version };
  });
}

async function withNewFile<T>(path: string, write: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, 'wx', 0o600);
  try {
    const result = await write(file);
    await file.sync();
    return result;
  } finally {
    await file.close();
  }
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

/** Whether the object stands there already, as the same bytes under the same key. */
async function isWhole(path: string, { address, byteCount }: StoredObject, dataKey: DataKey | null): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  if (found?.isFile() !== true) return false;
  if (!dataKey) return found.size === byteCount;
  const header = await readHeader(path, address);
  return keyVersionOf(header) === dataKey.version && openHeader(header, dataKey, address)?.byteCount === byteCount;
}

async function readHeader(path: string, address: string): Promise<Buffer> {
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

async function moveInto(partial: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await rename(partial, path);
  // Without the folder's own sync a power loss could forget the name of a file whose bytes are safe.
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
