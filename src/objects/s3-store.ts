import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { randomBytes, randomUuid } from '../crypto/random.ts';
import { FluxError } from '../errors.ts';
import type { Bucket, BucketObject } from './bucket.ts';
import { createFileStore, type FileStore } from './file-store.ts';
import { type DataKey, type ObjectStore, shelfOf, type StoredObject } from './object-store.ts';
import { headerByteCount, keyVersionOf, openHeader } from './sealed-format.ts';

export interface S3StoreOptions {
  bucket: Bucket;
  /** Of this process's host: what it has stored or read lately is read from here. */
  cacheFolder: string;
  /** Bytes that the folder may hold before what was unused longest goes. */
  cacheBytesMax: number;
  dataKey: Buffer;
  segmentBytes?: number;
  /** How long what was used stays near, even above the limit: a step may be reading it. */
  cacheKeptMs?: number;
}

const cacheKeptMsDefault = 6 * 3_600_000;
/** The folder may outgrow its bound by this part of it, for each process that fills it. */
const growthPart = 16;
const breaksMax = 5;

/**
 * A store in a bucket that every host reaches, so that none shares a disk with another. The keys are a file store's paths: a folder that was
 * copied into the bucket is the same store.
 *
 * Readers need ranges of local files, and several steps read one object: objects are brought near whole, once per host, and their copies go
 * when the folder grows too large. Sealed objects are sealed before they leave, and never opened on the way.
 *
 * "Lately used" is a marker of its own beside an object, because S3 has no way to touch one.
 */
export function createS3Store(options: S3StoreOptions): ObjectStore {
  const { bucket } = options;
  const near = createFileStore({
    folder: options.cacheFolder,
    dataKey: options.dataKey,
    ...(options.segmentBytes === undefined ? {} : { segmentBytes: options.segmentBytes }),
  });
  const coming = new Map<string, Promise<void>>();
  let grown = Number.POSITIVE_INFINITY;

  /** Looking through the folder costs a call of the system for each copy, so it waits until there is something to find. */
  const grow = async (byteCount: number): Promise<void> => {
    grown += byteCount;
    if (grown < options.cacheBytesMax / growthPart) return;
    grown = 0;
    await evict(options);
  };

  /** Several steps may ask for one object at once, and it comes once. */
  const bring = async (address: string): Promise<void> => {
    if (await near.keep(address)) return;
    const started =
      coming.get(address) ??
      fetchInto(near, bucket, address)
        .then(grow)
        .finally(() => coming.delete(address));
    coming.set(address, started);
    await started;
  };

  return {
    pathOf: (address) => near.pathOf(address),
    async put(agency, bytes, dataKey = null, watch) {
      const stored = await near.put(agency, bytes, dataKey, watch);
      await send(bucket, { ...stored, path: near.pathOf(stored.address) }, dataKey);
      await grow(stored.byteCount);
      return stored;
    },
    async keep(address) {
      // The marker first: who removes looks at it last.
      await bucket.put(markerOf(address), new Uint8Array());
      if ((await bucket.find(shelfOf(address))) !== null) return true;
      await bucket.remove(markerOf(address));
      return false;
    },
    async sealOf(address, keyOf) {
      await bring(address);
      return near.sealOf(address, keyOf);
    },
    async *addresses(agency) {
      for await (const key of bucket.keys(`${agency}/`)) {
        const [, digest] = /^[^/]+\/[0-9a-f]{2}\/([0-9a-f]{64})$/.exec(key) ?? [];
        if (digest !== undefined) yield `${agency}/${digest}`;
      }
    },
    async remove(address, { unusedForMs }) {
      const found = await bucket.find(shelfOf(address));
      const marker = await bucket.find(markerOf(address));
      if (found !== null) {
        const used = Math.max(found.modifiedAt.getTime(), marker?.modifiedAt.getTime() ?? 0);
        if (Math.max(0, Date.now() - used) < unusedForMs) return false;
        await bucket.remove(shelfOf(address));
      }
      if (marker !== null) await bucket.remove(markerOf(address));
      await near.remove(address, { unusedForMs: 0 });
      return true;
    },
    async check() {
      const key = `.health/${randomUuid()}`;
      const written = randomBytes(64);
      await bucket.put(key, written);
      try {
        const found = await bucket.find(key);
        const read = found && (await whole(await bucket.read(key, { etag: found.etag, from: 0 })));
        if (!read?.equals(written)) throw new Error('the object store gave back other bytes than were written');
      } finally {
        await bucket.remove(key);
      }
    },
  };
}

/** No agency's name begins with a point. */
function markerOf(address: string): string {
  return `.used/${shelfOf(address)}`;
}

/** What was broken off goes on from there, of the same version. @returns bytes @throws SOURCE_UNAVAILABLE it is not there; UNAVAILABLE */
async function fetchInto(near: FileStore, bucket: Bucket, address: string): Promise<number> {
  const found = await bucket.find(shelfOf(address));
  if (found === null) {
    throw new FluxError(
      'SOURCE_UNAVAILABLE',
      `The object ${address} is not in the bucket. Check that every process names the same FLUX_OBJECT_STORE.`,
    );
  }
  await near.adopt(address, { byteCount: found.byteCount, bytes: unbroken(bucket, shelfOf(address), found) });
  return found.byteCount;
}

async function* unbroken(
  bucket: Bucket,
  key: string,
  { byteCount, etag }: BucketObject,
): AsyncGenerator<Uint8Array, void, undefined> {
  let from = 0;
  for (let breaks = 0; from < byteCount; breaks += 1) {
    try {
      for await (const piece of await bucket.read(key, { etag, from })) {
        from += piece.byteLength;
        yield piece;
      }
    } catch (cause) {
      if (cause instanceof FluxError) throw cause;
      if (breaks === breaksMax) {
        throw new FluxError(
          'UNAVAILABLE',
          `The object store broke off ${String(breaksMax + 1)} times, the last time after ${String(from)} of ${String(byteCount)} bytes of "${key}". Flux tries again.`,
          { cause },
        );
      }
    }
    if (breaks > breaksMax) return;
  }
}

/** The bucket decides who was first. Who was not looks whether what stands there is whole, and puts it right where it is not. */
async function send(
  bucket: Bucket,
  { path, ...stored }: StoredObject & { path: string },
  dataKey: DataKey | null,
): Promise<void> {
  const key = shelfOf(stored.address);
  const file = { path, byteCount: (await stat(path)).size };
  // A look costs less than sending many bytes to be told at their end.
  const present = await bucket.find(key);
  if (present === null && (await bucket.send(key, file, { replace: false }))) return;
  const found = present ?? (await bucket.find(key));
  if (found && found.byteCount === file.byteCount && (await opens(bucket, { ...stored, key, found }, dataKey))) {
    await bucket.put(markerOf(stored.address), new Uint8Array());
    return;
  }
  await bucket.send(key, file, { replace: true });
}

async function opens(
  bucket: Bucket,
  { key, found, address, byteCount }: StoredObject & { key: string; found: BucketObject },
  dataKey: DataKey | null,
): Promise<boolean> {
  if (!dataKey) return true;
  const header = await whole(await bucket.read(key, { etag: found.etag, from: 0, to: headerByteCount }));
  return keyVersionOf(header) === dataKey.version && openHeader(header, dataKey, address)?.byteCount === byteCount;
}

async function whole(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of bytes) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Removes copies that were unused longest until the folder holds no more than it may. */
async function evict({ cacheFolder, cacheBytesMax, cacheKeptMs = cacheKeptMsDefault }: S3StoreOptions): Promise<void> {
  await mkdir(cacheFolder, { recursive: true, mode: 0o700 });
  const names = await readdir(cacheFolder, { recursive: true, withFileTypes: true });
  const copies: { path: string; bytes: number; usedAt: number }[] = [];
  for (const name of names.filter((entry) => entry.isFile() && /^[0-9a-f]{64}$/.test(entry.name))) {
    const path = join(name.parentPath, name.name);
    // Another process of this host may have removed it meanwhile.
    const found = await stat(path).catch(() => null);
    if (found) copies.push({ path, bytes: found.size, usedAt: found.mtimeMs });
  }
  let held = copies.reduce((sum, { bytes }) => sum + bytes, 0);
  const before = Date.now() - cacheKeptMs;
  for (const { path, bytes, usedAt } of copies.sort((a, b) => a.usedAt - b.usedAt)) {
    if (held <= cacheBytesMax || usedAt > before) break;
    await rm(path, { force: true });
    held -= bytes;
  }
}
