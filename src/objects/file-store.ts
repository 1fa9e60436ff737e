import { mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { deriveKey } from '../crypto/aead.ts';
import { hmacSha256 } from '../crypto/mac.ts';
import { randomBytes, randomUuid } from '../crypto/random.ts';
import { FluxError } from '../errors.ts';
import { withNewFile } from './new-file.ts';
import { readHeader, writePlain, writeSealed } from './object-file.ts';
import { type DataKey, type ObjectStore, shelfOf, type StoredObject } from './object-store.ts';
import { corrupted } from './sealed-file.ts';
import { keyVersionOf, openHeader, segmentBytesDefault } from './sealed-format.ts';

/** A store in a folder: bytes go to a temporary file, are synced, and are renamed into place. */
export interface FileStore extends ObjectStore {
  /**
   * Puts an object's file, as another store has it, into place.
   *
   * @throws UNAVAILABLE there came other than `byteCount` bytes; whatever `bytes` throws; then nothing is left behind
   */
  adopt(address: string, file: { byteCount: number; bytes: AsyncIterable<Uint8Array> }): Promise<void>;
}

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
}): FileStore {
  const pathOf = (address: string): string => join(folder, shelfOf(address));
  const besides = async <T>(use: (partial: string) => Promise<T>): Promise<T> => {
    const partial = join(folder, 'partial', randomUuid());
    await mkdir(dirname(partial), { recursive: true, mode: 0o700 });
    try {
      return await use(partial);
    } finally {
      await rm(partial, { force: true });
    }
  };

  return {
    pathOf,
    put(agency, bytes, sealing = null, watch) {
      const addressKey = sealing
        ? deriveKey(sealing.key, Buffer.from(agency), 'flux object address')
        : hmacSha256(dataKey, `flux object address\0${agency}`);
      const addressOf = (sha256: string): string => `${agency}/${hmacSha256(addressKey, sha256).toString('hex')}`;
      return besides(async (partial) => {
        const stored = await (sealing
          ? writeSealed(partial, bytes, { dataKey: sealing, segmentBytes, addressOf, watch })
          : writePlain(partial, bytes, addressOf, watch));
        const path = pathOf(stored.address);
        if (await isWhole(path, stored, sealing)) await markUsed(path);
        else await moveInto(partial, path);
        return stored;
      });
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
    async *addresses(agency) {
      const shelves = await readdir(join(folder, agency), { withFileTypes: true }).catch(() => []);
      for (const shelf of shelves.filter((entry) => entry.isDirectory())) {
        for (const digest of await readdir(join(folder, agency, shelf.name))) {
          if (/^[0-9a-f]{64}$/.test(digest)) yield `${agency}/${digest}`;
        }
      }
    },
    async remove(address, { unusedForMs }) {
      const path = pathOf(address);
      const found = await stat(path).catch((cause: unknown) => {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
        throw cause;
      });
      if (found === null) return true;
      // The file's time is finer than the clock's, so that its age may come out below nothing.
      if (Math.max(0, Date.now() - found.mtimeMs) < unusedForMs) return false;
      await rm(path, { force: true });
      return true;
    },
    check: () =>
      besides(async (partial) => {
        const written = randomBytes(64);
        const handle = await open(partial, 'wx+', 0o600);
        try {
          await handle.write(written, 0, written.length, 0);
          await handle.sync();
          const { buffer } = await handle.read(Buffer.alloc(written.length), 0, written.length, 0);
          if (!buffer.equals(written)) throw new Error('the object store gave back other bytes than were written');
        } finally {
          await handle.close();
        }
      }),
    adopt: (address, { byteCount, bytes }) =>
      besides(async (partial) => {
        await withNewFile(partial, async (file) => {
          let at = 0;
          for await (const piece of bytes) {
            await file.write(piece, at);
            at += piece.length;
          }
        });
        const { size } = await stat(partial);
        if (size !== byteCount) throw brokenOff(address, { byteCount, found: size });
        await moveInto(partial, pathOf(address));
      }),
  };
}

function brokenOff(address: string, { byteCount, found }: { byteCount: number; found: number }): FluxError {
  return new FluxError(
    'UNAVAILABLE',
    `The object store sent ${String(found)} of the ${String(byteCount)} bytes of ${address}. Flux tries again.`,
  );
}

/** Retention leaves alone what was stored again lately. */
async function markUsed(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now);
}

/** Whether the object stands there already, as the same bytes under the same key. */
async function isWhole(path: string, { address, byteCount }: StoredObject, dataKey: DataKey | null): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  if (found?.isFile() !== true) return false;
  if (!dataKey) return found.size === byteCount;
  const header = await readHeader(path, address);
  return keyVersionOf(header) === dataKey.version && openHeader(header, dataKey, address)?.byteCount === byteCount;
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
