import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { runningSha256 } from '../crypto/hash.ts';
import { hmacSha256 } from '../crypto/mac.ts';
import { randomUuid } from '../crypto/random.ts';
import { FluxError } from '../errors.ts';

/**
 * Content-addressed store in a folder. An address is `<agency>/<HMAC-SHA-256 hex>`: keyed per agency, so that equal bytes of
 * two agencies are two objects and an address reveals nothing about its content to who lacks the key.
 *
 * An object is there whole or not at all: bytes go to a temporary file, are synced, and are renamed into place.
 */
export interface ObjectStore {
  /**
   * Stores the bytes and says where they are. Storing the same bytes again gives the same address.
   *
   * @throws whatever `bytes` throws; then nothing is left behind
   */
  put(agency: string, bytes: AsyncIterable<Uint8Array>): Promise<StoredObject>;
  /** The local file of an address; it may not exist. @throws INTERNAL the address is not one of this store's */
  pathOf(address: string): string;
}

export interface StoredObject {
  address: string;
  /** Lower-case hex. */
  sha256: string;
  byteCount: number;
}

const addressPattern = /^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]\/[0-9a-f]{64}$/;

/** @param dataKey 32 bytes (FLUX_DATA_KEY) */
export function createFileStore({ folder, dataKey }: { folder: string; dataKey: Buffer }): ObjectStore {
  const pathOf = (address: string): string => {
    if (!addressPattern.test(address))
      throw new FluxError('INTERNAL', `Expected an object address, found "${address}".`);
    const [agency = '', digest = ''] = address.split('/');
    return join(folder, agency, digest.slice(0, 2), digest);
  };

  return {
    pathOf,
    async put(agency, bytes) {
      const partial = join(folder, 'partial', randomUuid());
      await mkdir(dirname(partial), { recursive: true, mode: 0o700 });
      try {
        const { sha256, byteCount } = await writeSynced(partial, bytes);
        const address = `${agency}/${keyedAddress(dataKey, agency, sha256)}`;
        const path = pathOf(address);
        if (!(await isWhole(path, byteCount))) await moveInto(partial, path);
        return { address, sha256, byteCount };
      } finally {
        await rm(partial, { force: true });
      }
    },
  };
}

function keyedAddress(dataKey: Buffer, agency: string, sha256: string): string {
  const agencyKey = hmacSha256(dataKey, `flux object address\0${agency}`);
  return hmacSha256(agencyKey, sha256).toString('hex');
}

async function writeSynced(
  path: string,
  bytes: AsyncIterable<Uint8Array>,
): Promise<{ sha256: string; byteCount: number }> {
  const hash = runningSha256();
  let byteCount = 0;
  const file = await open(path, 'wx', 0o600);
  try {
    for await (const piece of bytes) {
      hash.update(piece);
      byteCount += piece.byteLength;
      await file.writeFile(piece);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { sha256: hash.digest().toString('hex'), byteCount };
}

async function isWhole(path: string, byteCount: number): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  return found?.isFile() === true && found.size === byteCount;
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
