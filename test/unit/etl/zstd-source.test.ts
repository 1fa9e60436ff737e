import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { constants, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { decompressTo, growthLimitsDefault } from '../../../src/etl/decompressed-copy.ts';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

const contract = contractOf({ id: { type: 'integer' } });
const numbers = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_each, at) => `${from + at}\n`).join('');
const { signal } = new AbortController();
const framed = (text: string | Uint8Array, { level = 3, checksum = true } = {}): Buffer =>
  zstdCompressSync(text, {
    params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0 },
  });
/** RFC 8878, 3.1.2. */
const skippable = (content: string, kind = 0): Buffer => {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a50 + kind, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, Buffer.from(content)]);
};

let bench: EtlBench;
beforeEach(async () => {
  bench = await etlBench();
});
afterEach(() => bench.remove());

async function run(bytes: Uint8Array) {
  await bench.put('a.zst', bytes);
  return bench.run(definitionOf('a.zst', { type: 'csv', compression: 'zstd' }), contract);
}

async function decompress(bytes: Uint8Array, cuts: readonly number[] = []): Promise<Buffer> {
  const copy = join(bench.workFolder, `copy-${readdirSync(bench.workFolder).length}`);
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((one, other) => one - other), bytes.length];
  const pieces = places.slice(1).map((end, at) => bytes.subarray(places[at], end));
  const source = { bytes: Readable.from(pieces), byteCount: bytes.length, origin: 'file:a.zst' };
  await decompressTo(copy, source, { compression: 'zstd', limits: growthLimitsDefault, signal });
  return readFileSync(copy);
}

describe('a zstd source', () => {
  test('of several frames is one content, and what is to be skipped is skipped', async () => {
    const parts = ['id\n', numbers(1, 2000), '', numbers(2001, 4999), '5000\n'];
    const frames = parts.flatMap((text, at) => [framed(text, { checksum: at % 2 === 0 }), skippable(`note ${at}`, at)]);
    const { plan, read, rows } = await run(Buffer.concat([skippable(''), ...frames]));
    expect([plan.recordsTotal, read, rows.length]).toEqual([5000, 5000, 5000]);
    expect(rows.at(-1)?.[1]).toBe('5000');
  });

  test('gives back every content, whatever its frames and the pieces it comes in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(2000), { maxLength: 5 }),
        fc.constantFrom(1, 3, 19),
        fc.boolean(),
        async (parts, cuts, level, checksum) => {
          const content = Buffer.concat(parts);
          fc.pre(content.length > 0);
          const bytes = Buffer.concat(parts.map((part) => framed(part, { level, checksum })));
          expect((await decompress(bytes, cuts)).equals(content)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('of large and of incompressible blocks comes back whole', async () => {
    const random = Buffer.from(
      fc.sample(fc.uint8Array({ minLength: 400_000, maxLength: 400_000, size: 'max' }), 1)[0] ?? [],
    );
    const content = Buffer.concat([Buffer.alloc(3_000_000, 'a'), random]);
    expect(
      (await decompress(Buffer.concat([framed(content), framed(content)]))).equals(Buffer.concat([content, content])),
    ).toBe(true);
  });
});

describe('a zstd source that is not whole', () => {
  const whole = framed(`id\n${numbers(1, 400)}`);
  const broken = Buffer.from(whole);
  broken[whole.length - 2] = (broken[whole.length - 2] ?? 0) ^ 0xff;
  test.each([
    ['ends in its first bytes', whole.subarray(0, 3), 'is not whole zstd data'],
    ['ends in the middle', whole.subarray(0, whole.length >> 1), 'is not whole zstd data'],
    ['ends in its second frame', Buffer.concat([whole, whole.subarray(0, 50)]), 'is not whole zstd data'],
    [
      'ends in what is to be skipped',
      Buffer.concat([whole, skippable('note').subarray(0, -1)]),
      'is not whole zstd data',
    ],
    ['fails its checksum', broken, 'is not whole zstd data'],
    ['is not compressed', Buffer.from('id\n1\n'), 'is not whole zstd data'],
    ['is another kind of archive', Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]), 'is not whole zstd data'],
    ['goes on as text', Buffer.concat([whole, Buffer.from('401\n')]), 'is not whole zstd data'],
    ['goes on behind zeros', Buffer.concat([whole, Buffer.from('\0\0\0\0')]), 'is not whole zstd data'],
    ['has no frame', skippable('only a note'), 'is not whole zstd data'],
    ['holds nothing', framed(''), 'holds nothing'],
  ])('because it %s, is refused', async (_name, bytes, message) => {
    await expect(run(bytes)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining(`file:a.zst ${message}`) as string,
    });
    expect(readdirSync(bench.workFolder)).toEqual([]);
  });

  test('is refused at every length short of the whole', async () => {
    const two = Buffer.concat([whole, skippable('note'), whole]);
    const ends = [whole.length, whole.length + 12];
    for (let length = 1; length < two.length; length += 23) {
      if (!ends.includes(length))
        await expect(decompress(two.subarray(0, length))).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
    }
  });

  test('is refused when a bomb is in it, and leaves nothing', async () => {
    await expect(run(framed(Buffer.alloc(100 * 2 ** 20)))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining('more than 250 times') as string,
    });
    expect(readdirSync(bench.workFolder)).toEqual([]);
  });
});
