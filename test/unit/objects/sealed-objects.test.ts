/** Objects at rest: what is sealed opens in any range, and nothing that was done to its file goes unnoticed. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { isFluxError } from '../../../src/errors.ts';
import { createFileStore } from '../../../src/objects/file-store.ts';
import type { DataKey, ObjectStore } from '../../../src/objects/object-store.ts';
import { openSealedFile, readSealed } from '../../../src/objects/sealed-file.ts';
import { headerByteCount } from '../../../src/objects/sealed-format.ts';

const segmentBytes = 64;
const key: DataKey = { version: 3, key: randomBytes(32) };
const keyOf = async (): Promise<DataKey> => key;

let folder: string;
let store: ObjectStore;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux-sealed-'));
  store = createFileStore({ folder, dataKey: Buffer.alloc(32, 1), segmentBytes });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** The content in pieces of uneven size, as a source gives it. */
async function* pieces(content: Buffer, size = 41): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size);
}

async function readAll(address: string, of = store): Promise<Buffer> {
  const seal = await of.sealOf(address, keyOf);
  if (!seal) throw new Error('expected a sealed object');
  const parts: Uint8Array[] = [];
  for await (const part of readSealed(of.pathOf(address), seal)) parts.push(part);
  return Buffer.concat(parts);
}

async function outcome(work: () => Promise<unknown>): Promise<string> {
  return work().then(
    () => 'opened',
    (cause: unknown) => (isFluxError(cause) ? cause.code : String(cause)),
  );
}

describe('a sealed object', () => {
  test('gives back any range of what was put in, whatever the sizes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 5 * segmentBytes }),
        fc.nat(5 * segmentBytes),
        fc.nat(5 * segmentBytes),
        fc.integer({ min: 1, max: 200 }),
        async (bytes, a, b, size) => {
          const content = Buffer.from(bytes);
          const { address, byteCount } = await store.put('nasa', pieces(content, size), key);
          expect(byteCount).toBe(content.length);
          expect((await readAll(address)).equals(content)).toBe(true);
          const seal = (await store.sealOf(address, keyOf))!;
          const file = openSealedFile(store.pathOf(address), seal);
          const [from, to] = [Math.min(a, b), Math.max(a, b)];
          const range = Buffer.alloc(to - from);
          const read = file.readSync(range, 0, range.length, from);
          file.close();
          expect(range.subarray(0, read).equals(content.subarray(from, to))).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('holds no plain byte of the content, in its file or beside it', async () => {
    const mark = Buffer.from('FLUX-CANARY-7d2f');
    const { address } = await store.put('nasa', pieces(Buffer.concat(Array<Buffer>(40).fill(mark))), key);
    const names = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = names.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
    expect(files).toEqual([store.pathOf(address)]);
    expect((await readFile(files[0]!)).includes(mark)).toBe(false);
  });

  test('has one address for the same bytes under one key, and others for another agency or another key', async () => {
    const content = Buffer.from('the same bytes');
    const address = async (agency: string, dataKey: DataKey | null): Promise<string> =>
      (await store.put(agency, pieces(content), dataKey)).address.split('/')[1]!;
    const first = await address('nasa', key);
    expect(await address('nasa', key)).toBe(first);
    const others = [
      await address('noaa', key),
      await address('nasa', { version: 4, key: randomBytes(32) }),
      await address('nasa', null),
    ];
    expect(new Set([first, ...others]).size).toBe(4);
  });

  test('a file that was put over with an older key’s content is stored again', async () => {
    const content = Buffer.from('kept');
    const { address } = await store.put('nasa', pieces(content), key);
    await writeFile(store.pathOf(address), 'damaged');
    await store.put('nasa', pieces(content), key);
    expect((await readAll(address)).equals(content)).toBe(true);
  });
});

describe('tampering with a sealed object’s file is told as OBJECT_CORRUPTED', () => {
  const content = Buffer.from(Array.from({ length: segmentBytes * 4 + 10 }, (_, i) => i % 251));
  const stride = segmentBytes + 16;

  async function tampered(change: (file: Buffer) => Buffer): Promise<string> {
    const { address } = await store.put('nasa', pieces(content), key);
    const file = store.pathOf(address);
    await writeFile(file, change(await readFile(file)));
    return outcome(() => readAll(address));
  }

  test('any flipped bit, wherever it is', async () => {
    const length = headerByteCount + content.length + 5 * 16;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: length - 1 }), fc.integer({ min: 0, max: 7 }), async (at, bit) => {
        const told = await tampered((file) => {
          expect(file.length).toBe(length);
          file[at]! ^= 1 << bit;
          return file;
        });
        // A broken magic or format version makes it look like a plain file, whose size then disagrees with the run's.
        if (at < 12) expect(told).not.toBe('opened');
        else expect(told).toBe('OBJECT_CORRUPTED');
        await rm(folder, { recursive: true });
      }),
      { numRuns: 120 },
    );
  });

  const segment = (file: Buffer, index: number): Buffer =>
    file.subarray(headerByteCount + index * stride, headerByteCount + (index + 1) * stride);
  const rebuilt = (file: Buffer, order: number[]): Buffer =>
    Buffer.concat([file.subarray(0, headerByteCount), ...order.map((index) => segment(file, index))]);

  test.each<[string, (file: Buffer) => Buffer]>([
    ['cut inside a segment', (file) => file.subarray(0, file.length - 5)],
    ['cut at a segment’s end', (file) => rebuilt(file, [0, 1, 2, 3])],
    ['a segment longer', (file) => Buffer.concat([file, Buffer.alloc(stride)])],
    ['two segments swapped', (file) => rebuilt(file, [0, 2, 1, 3, 4])],
    ['one segment repeated over another', (file) => rebuilt(file, [0, 1, 1, 3, 4])],
    ['only a header', (file) => file.subarray(0, headerByteCount)],
  ])('%s', async (_name, change) => {
    expect(await tampered((file) => Buffer.from(change(file)))).toBe('OBJECT_CORRUPTED');
  });

  test('a segment, or the whole file, of another object of the same agency and key', async () => {
    const one = await store.put('nasa', pieces(content), key);
    const two = await store.put('nasa', pieces(Buffer.from(content).fill(9)), key);
    const [a, b] = [await readFile(store.pathOf(one.address)), await readFile(store.pathOf(two.address))];
    const mixed = Buffer.concat([a.subarray(0, headerByteCount), segment(b, 0), a.subarray(headerByteCount + stride)]);
    await writeFile(store.pathOf(one.address), mixed);
    expect(await outcome(() => readAll(one.address))).toBe('OBJECT_CORRUPTED');
    await writeFile(store.pathOf(one.address), b);
    expect(await outcome(() => readAll(one.address))).toBe('OBJECT_CORRUPTED');
  });

  test('a wrong key, of the same version', async () => {
    const { address } = await store.put('nasa', pieces(content), key);
    const other = async (): Promise<DataKey> => ({ version: 3, key: randomBytes(32) });
    expect(await outcome(() => store.sealOf(address, other))).toBe('OBJECT_CORRUPTED');
  });
});
