/** What every object store promises, and what a bucket adds: no host shares a disk with another. */
import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import {
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { isFluxError } from '../../../src/errors.ts';
import { agencyObjects } from '../../../src/objects/agency-objects.ts';
import { type Bucket, openBucket } from '../../../src/objects/bucket.ts';
import { createFileStore } from '../../../src/objects/file-store.ts';
import { type DataKey, type ObjectStore, shelfOf } from '../../../src/objects/object-store.ts';
import { readObject } from '../../../src/objects/read-object.ts';
import { createS3Store } from '../../../src/objects/s3-store.ts';
import { startBreakingNetwork } from '../../support/breaking-network.ts';
import { findS3Server, noS3Server, type S3Server, startS3Server } from '../../support/s3-server.ts';

const key: DataKey = { version: 3, key: randomBytes(32) };
const keyOf = async (): Promise<DataKey> => key;
const dataKey = Buffer.alloc(32, 1);
const mebibyte = 2 ** 20;

const program = findS3Server();
let server: S3Server | null = null;
let network: Awaited<ReturnType<typeof startBreakingNetwork>> | null = null;
let folder: string;
let prefix = 0;
let hosts = 0;

beforeAll(async () => {
  if (program === null) return;
  server = await startS3Server(program);
  network = await startBreakingNetwork(Number(new URL(server.url).port));
});
afterAll(async () => {
  await network?.close();
  await server?.close();
});
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux-stores-'));
  prefix += 1;
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const inFolder = (): ObjectStore => createFileStore({ folder, dataKey, segmentBytes: 4_096 });

function bucketOf({ url = network?.url ?? '', credentials = server?.credentials } = {}): Bucket {
  return openBucket({
    bucket: server?.bucket ?? '',
    prefix: `flux/${String(prefix)}/`,
    region: 'us-east-1',
    endpoint: url,
    ...(credentials ? { credentials } : {}),
    partBytes: 5 * mebibyte,
  });
}

/** The store as a host of its own has it. */
function onHost({
  bucket = bucketOf(),
  cacheBytesMax = 2 ** 40,
  cacheKeptMs = 0,
}: { bucket?: Bucket; cacheBytesMax?: number; cacheKeptMs?: number } = {}): ObjectStore & { cacheFolder: string } {
  hosts += 1;
  const cacheFolder = path.join(folder, `host-${String(hosts)}`);
  return Object.assign(
    createS3Store({ bucket, cacheFolder, cacheBytesMax, cacheKeptMs, dataKey, segmentBytes: 4_096 }),
    {
      cacheFolder,
    },
  );
}

async function* pieces(content: Uint8Array, size = 65_536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size);
}

async function contentOf(store: ObjectStore, object: { address: string; keyVersion: number | null }): Promise<Buffer> {
  const read: Uint8Array[] = [];
  for await (const piece of readObject(store, object, keyOf)) read.push(piece);
  return Buffer.concat(read);
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (cause: unknown) => (isFluxError(cause) ? cause.code : String(cause)),
  );

async function addressesOf(store: ObjectStore, agency: string): Promise<string[]> {
  const found: string[] = [];
  for await (const address of store.addresses(agency)) found.push(address);
  return found.sort();
}

describe.each([
  { kind: 'a folder', open: inFolder, needs: false },
  { kind: 'a bucket', open: () => onHost(), needs: true },
])('a store in $kind', ({ open, needs }) => {
  beforeEach(({ skip }) => {
    if (needs && program === null) skip(noS3Server);
  });

  test.each([
    ['nothing', 0],
    ['a byte', 1],
    ['many bytes', 300_000],
    ['more than the disk is asked to take at once', 40 * mebibyte + 1],
  ])('gives back %s, sealed and plain', async (_name, length) => {
    const store = open();
    const content = randomBytes(length);
    for (const sealing of [key, null]) {
      const stored = await store.put('nasa', pieces(content), sealing);
      expect(stored).toMatchObject({ byteCount: length, keyVersion: sealing?.version ?? null });
      expect((await contentOf(store, stored)).equals(content)).toBe(true);
      expect((await store.put('nasa', pieces(content), sealing)).address).toBe(stored.address);
    }
  });

  test('lists an agency’s objects and no other’s', async () => {
    const store = open();
    const own: string[] = [];
    for (let i = 0; i < 5; i += 1) own.push((await store.put('nasa', pieces(Buffer.from([i])), key)).address);
    const { address: other } = await store.put('nasa-2', pieces(Buffer.from('x')), key);
    expect(await addressesOf(store, 'nasa')).toEqual(own.sort());
    expect(await addressesOf(store, 'nasa-2')).toEqual([other]);
    expect(await addressesOf(store, 'noaa')).toEqual([]);
  });

  test('removes what nobody has used for a while, and keeps what was kept lately', async () => {
    const store = open();
    const { address } = await store.put('nasa', pieces(Buffer.from('x')), key);
    expect(await store.remove(address, { unusedForMs: 3_600_000 })).toBe(false);
    expect(await store.keep(address)).toBe(true);
    expect(await store.remove(address, { unusedForMs: 0 })).toBe(true);
    expect(await store.remove(address, { unusedForMs: 0 })).toBe(true);
    expect(await store.keep(address)).toBe(false);
    expect(await addressesOf(store, 'nasa')).toEqual([]);
    expect(await codeOf(store.sealOf(address, keyOf))).toBe('SOURCE_UNAVAILABLE');
  });

  test('is broken off by a source that fails, and leaves nothing', async () => {
    const store = open();
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(randomBytes(1_000));
      throw new Error('the source broke');
    }
    await expect(store.put('nasa', broken(), key)).rejects.toThrow('the source broke');
    expect(await addressesOf(store, 'nasa')).toEqual([]);
  });

  test('takes no path for an address', async () => {
    const store = open();
    for (const address of ['../etc/passwd', 'nasa/../../x', `.used/${'0'.repeat(64)}`, `nasa/${'0'.repeat(63)}`])
      expect(() => store.pathOf(address)).toThrow(/Expected an object address/);
  });

  test('stores an object again under another key, and removes the old one', async () => {
    const store = open();
    const stored = await store.put('nasa', pieces(Buffer.from('again')), key);
    const newer: DataKey = { version: 4, key: randomBytes(32) };
    const again = await agencyObjects(store).reseal(stored, { keyOf, to: newer });
    await agencyObjects(store).remove(stored.address);
    expect(await addressesOf(store, 'nasa')).toEqual([again.address]);
    const read: Uint8Array[] = [];
    for await (const piece of readObject(store, again, async () => newer)) read.push(piece);
    expect(Buffer.concat(read).toString()).toBe('again');
  });

  test('knows that it works', async () => {
    await open().check();
  });
});

describe('a bucket', () => {
  beforeEach(({ skip }) => {
    if (program === null) skip(noS3Server);
  });
  const admin = (): S3Client =>
    new S3Client({
      region: 'us-east-1',
      endpoint: server?.url ?? '',
      forcePathStyle: true,
      ...(server ? { credentials: server.credentials } : {}),
      requestChecksumCalculation: 'WHEN_REQUIRED',
    });
  const place = (key_: string) => ({ Bucket: server?.bucket ?? '', Key: `flux/${String(prefix)}/${key_}` });
  const bytesAt = async (address: string): Promise<Buffer> => {
    const { Body } = await admin().send(new GetObjectCommand(place(shelfOf(address))));
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  };
  const keysIn = async (): Promise<string[]> => {
    const Prefix = `flux/${String(prefix)}/`;
    const { Contents } = await admin().send(new ListObjectsV2Command({ Bucket: server?.bucket, Prefix }));
    return (Contents ?? []).map(({ Key }) => Key?.slice(Prefix.length) ?? '');
  };

  test('shows one host what another has stored, and holds no plain byte of it', async () => {
    const mark = Buffer.from('FLUX-CANARY-7d2f');
    const content = Buffer.concat(Array<Buffer>(40).fill(mark));
    const stored = await onHost().put('nasa', pieces(content), key);
    expect((await contentOf(onHost(), stored)).equals(content)).toBe(true);
    expect((await bytesAt(stored.address)).includes(mark)).toBe(false);
  });

  test('holds what several hosts store at once only once, and all can read it', async () => {
    const content = randomBytes(200_000);
    const stores = Array.from({ length: 8 }, () => onHost());
    const stored = await Promise.all(stores.map((store) => store.put('nasa', pieces(content), key)));
    expect(new Set(stored.map(({ address }) => address)).size).toBe(1);
    const address = stored[0]?.address ?? '';
    const first = await bytesAt(address);
    await onHost().put('nasa', pieces(content), key);
    expect((await bytesAt(address)).equals(first), 'an object that is whole is never written over').toBe(true);
    for (const store of [...stores, onHost()])
      expect((await contentOf(store, { address, keyVersion: 3 })).equals(content)).toBe(true);
  });

  test('decides itself who was first, in one request and in many', async ({ skip }) => {
    if (server?.strict === false) skip('gofakes3 looks at no condition when the last part has come; versitygw does');
    const small = path.join(folder, 'small');
    const large = path.join(folder, 'large');
    await writeFile(small, 'first');
    await writeFile(large, randomBytes(12 * mebibyte));
    for (const file of [
      { path: small, byteCount: 5 },
      { path: large, byteCount: 12 * mebibyte },
    ]) {
      const name = `race/${String(file.byteCount)}`;
      const written = await Promise.all(
        Array.from({ length: 5 }, () => bucketOf().send(name, file, { replace: false })),
      );
      expect(written.filter(Boolean).length).toBe(1);
      expect(await bucketOf().send(name, file, { replace: true })).toBe(true);
    }
    const { Uploads } = await admin().send(new ListMultipartUploadsCommand({ Bucket: server?.bucket }));
    expect(Uploads ?? [], 'parts that nobody ended').toEqual([]);
  });

  test('takes an object of many parts', async () => {
    const content = randomBytes(12 * mebibyte + 17);
    const stored = await onHost().put('nasa', pieces(content), null);
    expect((await contentOf(onHost(), stored)).equals(content)).toBe(true);
  });

  test('is put right where somebody damaged an object that is stored again', async () => {
    const content = randomBytes(1_000);
    const stored = await onHost().put('nasa', pieces(content), key);
    const whole = await bytesAt(stored.address);
    for (const damaged of [Buffer.from('damaged'), Buffer.from(whole).fill(0, 64, 132)]) {
      await admin().send(new PutObjectCommand({ ...place(shelfOf(stored.address)), Body: damaged }));
      expect(await codeOf(contentOf(onHost(), stored))).toBe('OBJECT_CORRUPTED');
      await onHost().put('nasa', pieces(content), key);
      expect((await contentOf(onHost(), stored)).equals(content)).toBe(true);
    }
  });

  test('goes on where the network broke, and says so where it breaks again and again', async () => {
    const content = randomBytes(3 * mebibyte);
    const stored = await onHost().put('nasa', pieces(content), key);
    network?.breakAfter(mebibyte);
    expect((await contentOf(onHost(), stored)).equals(content)).toBe(true);
    let reads = 0;
    const bucket = bucketOf();
    const breaking: Bucket = {
      ...bucket,
      async read(name, version) {
        reads += 1;
        const bytes = await bucket.read(name, version);
        return (async function* () {
          for await (const piece of bytes) {
            yield piece.subarray(0, 10);
            throw new Error('reset');
          }
        })();
      },
    };
    const host = onHost({ bucket: breaking });
    expect(await codeOf(contentOf(host, stored))).toBe('UNAVAILABLE');
    expect(reads).toBe(6);
    expect(await readdir(path.join(host.cacheFolder, 'partial'))).toEqual([]);
  });

  test('never mixes two versions of one key', async () => {
    const stored = await onHost().put('nasa', pieces(randomBytes(3 * mebibyte)), null);
    network?.breakAfter(mebibyte, async () => {
      await admin().send(new PutObjectCommand({ ...place(shelfOf(stored.address)), Body: randomBytes(3 * mebibyte) }));
    });
    expect(await codeOf(contentOf(onHost(), stored))).toBe('UNAVAILABLE');
  });

  test('that does not answer is UNAVAILABLE, and nobody hears its credentials', async () => {
    const host = onHost({ bucket: bucketOf({ url: 'http://127.0.0.1:1' }) });
    const asked = [
      () => host.put('nasa', pieces(Buffer.from('x')), key),
      () => host.check(),
      () => addressesOf(host, 'nasa'),
    ];
    for (const ask of asked) {
      const cause: unknown = await ask().then(
        () => null,
        (thrown: unknown) => thrown,
      );
      expect(isFluxError(cause) ? cause.code : cause).toBe('UNAVAILABLE');
      expect(String(cause)).toContain('Flux tries again');
      expect(String(cause)).not.toContain(server?.credentials.secretAccessKey);
    }
  });

  test('that refuses says that its credentials may not do this', async ({ skip }) => {
    if (server?.strict === false) skip('gofakes3 checks no signature; versitygw does');
    const other = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'another' };
    const host = onHost({ bucket: bucketOf({ credentials: other }) });
    await expect(host.check()).rejects.toThrow(/credentials may not do this/);
  });

  test('that is another than was meant is told by its name', async () => {
    const other = openBucket({
      bucket: 'nowhere',
      prefix: '',
      region: 'us-east-1',
      endpoint: server?.url ?? '',
      ...(server ? { credentials: server.credentials } : {}),
    });
    await expect(onHost({ bucket: other }).check()).rejects.toThrow(/"nowhere".*Check FLUX_OBJECT_STORE/);
  });

  test('leaves on each host what was used lately, within its bound', async () => {
    const store = onHost({ cacheBytesMax: 2_500 });
    const objects = [];
    for (let i = 0; i < 6; i += 1) {
      const stored = await store.put('nasa', pieces(randomBytes(1_000)), null);
      await utimes(store.pathOf(stored.address), i, i);
      objects.push(stored);
    }
    const near = await Promise.all(
      objects.map(({ address }) =>
        stat(store.pathOf(address)).then(
          () => true,
          () => false,
        ),
      ),
    );
    expect(near.slice(0, 4)).toEqual([false, false, false, false]);
    expect(near[5]).toBe(true);
    const [first] = objects;
    expect((await contentOf(store, first!)).length).toBe(1_000);
    const busy = onHost({ cacheBytesMax: 2_500, cacheKeptMs: 3_600_000 });
    for (const stored of objects) await contentOf(busy, stored);
    expect(
      (await readdir(path.join(busy.cacheFolder, 'nasa'), { recursive: true })).filter((name) => name.length > 60)
        .length,
    ).toBe(6);
  });

  test('keeps an old object that was kept lately, by its marker', async () => {
    const bucket = bucketOf();
    const aged: Bucket = {
      ...bucket,
      async find(name) {
        const found = await bucket.find(name);
        return found && !name.startsWith('.used/') ? { ...found, modifiedAt: new Date(0) } : found;
      },
    };
    const store = onHost({ bucket: aged });
    const { address } = await store.put('nasa', pieces(Buffer.from('x')), key);
    await store.keep(address);
    expect(await store.remove(address, { unusedForMs: 3_600_000 })).toBe(false);
    const { address: other } = await store.put('nasa', pieces(Buffer.from('y')), key);
    expect(await store.remove(other, { unusedForMs: 3_600_000 })).toBe(true);
    expect(await addressesOf(store, 'nasa')).toEqual([address]);
  });

  test('forgets its marker with the object, and keeps none of what is not there', async () => {
    const store = onHost();
    const { address } = await store.put('nasa', pieces(Buffer.from('x')), key);
    await store.keep(address);
    expect((await keysIn()).sort()).toEqual([`.used/${shelfOf(address)}`, shelfOf(address)]);
    await store.remove(address, { unusedForMs: 0 });
    await store.keep(address);
    await store.check();
    expect(await keysIn()).toEqual([]);
  });

  test('into which a folder was copied is the same store', async () => {
    const before = createFileStore({ folder: path.join(folder, 'before'), dataKey, segmentBytes: 4_096 });
    const stored = await before.put('nasa', pieces(Buffer.from('moved')), key);
    const copied = path.join(folder, 'copied');
    await cp(path.join(folder, 'before'), copied, { recursive: true });
    const name = shelfOf(stored.address);
    await admin().send(new PutObjectCommand({ ...place(name), Body: await readFile(path.join(copied, name)) }));
    expect((await contentOf(onHost(), stored)).toString()).toBe('moved');
  });
});
