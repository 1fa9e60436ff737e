import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { createGunzip, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256 } from '../../../src/crypto/hash.ts';
import { decompressTo, growthLimitsDefault } from '../../../src/etl/decompressed-copy.ts';
import type { PipelineDefinition } from '../../../src/etl/engine-types.ts';
import { createFileStore } from '../../../src/objects/file-store.ts';
import { createEtlEngine } from '../../../src/etl/engine.ts';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';
import { goodIds } from '../../support/copy-file.ts';

const contract = contractOf({ id: { type: 'integer' } });
const numbers = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_each, at) => `${from + at}\n`).join('');
const zipped = (format: PipelineDefinition['source']['format'], records = 10): PipelineDefinition =>
  definitionOf('a.gz', { ...format, compression: 'gzip' }, { batch: { records } });
const { signal } = new AbortController();

let bench: EtlBench;
beforeEach(async () => {
  bench = await etlBench();
});
afterEach(() => bench.remove());

async function runGzip(bytes: Uint8Array, definition = zipped({ type: 'csv' })) {
  await bench.put('a.gz', bytes);
  return bench.run(definition, contract);
}

async function decompress(bytes: Uint8Array, cuts: readonly number[] = []): Promise<Buffer> {
  const copy = join(bench.workFolder, `copy-${readdirSync(bench.workFolder).length}`);
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((one, other) => one - other), bytes.length];
  const pieces = places.slice(1).map((end, at) => bytes.subarray(places[at], end));
  const source = { bytes: Readable.from(pieces), byteCount: bytes.length, origin: 'file:a.gz' };
  const count = await decompressTo(copy, source, { compression: 'gzip', limits: growthLimitsDefault, signal });
  const content = readFileSync(copy);
  expect(content.length).toBe(count);
  return content;
}

describe('a gzip source', () => {
  test.each([
    ['csv', { type: 'csv' }, 'id\n1\n2\n3\n'],
    ['json', { type: 'json', recordPath: '/all' }, '{"all":[{"id":1},{"id":2},{"id":3}]}'],
    ['ndjson', { type: 'ndjson' }, '{"id":1}\n{"id":2}\n{"id":3}\n'],
    ['fixed', { type: 'fixed', columns: [{ name: 'id', start: 1, length: 2 }] }, ' 1\n 2\n 3\n'],
    [
      'mainframe',
      { type: 'mainframe', copybook: '       01 R.\n          05 ID PIC 9(2).' },
      '\xf0\xf1\xf0\xf2\xf0\xf3',
    ],
  ] as const)('is read as %s', async (_name, format, text) => {
    const result = await runGzip(gzipSync(Buffer.from(text, 'latin1')), zipped(format));
    expect(result.rows.map(([, id]) => id)).toEqual(['1', '2', '3']);
    expect(result.plan).toMatchObject({ recordsTotal: 3, bytesTotal: text.length });
  });

  test('is pinned as it came, and its content goes with the step', async () => {
    const bytes = gzipSync(`id\n${numbers(1, 25)}`);
    const { object, read } = await runGzip(bytes);
    expect([object.byteCount, object.sha256, read]).toEqual([bytes.length, sha256(bytes).toString('hex'), 25]);
    expect(readdirSync(bench.workFolder)).toEqual([]);
  });

  test('of several members is one content, counted as an independent reader counts it', async () => {
    const bytes = Buffer.concat(
      ['id\n', numbers(1, 2000), '', numbers(2001, 4999), '5000\n'].map((text) => gzipSync(text)),
    );
    const { rows, plan } = await runGzip(bytes, zipped({ type: 'csv' }, 1000));
    let lines = 0;
    for await (const _line of createInterface({ input: Readable.from([bytes]).pipe(createGunzip()) })) lines += 1;
    expect([plan.recordsTotal, rows.length]).toEqual([lines - 1, lines - 1]);
    expect(rows.every(([record, id]) => record === id)).toBe(true);
  });

  test('resumes after any batch with exactly the records that follow', async () => {
    await bench.put('a.gz', gzipSync(`id\n${numbers(1, 45)}`));
    const definition = zipped({ type: 'csv' });
    const object = await bench.pin(definition);
    const request = { definition, contract, object, workFolder: bench.workFolder, signal };
    const [range = {}] = (await bench.engine.planSource(request)).ranges;
    const read = async (from: string | null): Promise<{ cursors: string[]; ids: number[] }> => {
      const found = { cursors: [] as string[], ids: [] as number[] };
      for await (const batch of bench.engine.openBatches({ ...request, range, cursor: from })) {
        found.cursors.push(batch.cursor);
        found.ids.push(...goodIds(batch));
      }
      return found;
    };
    const whole = await read(null);
    expect(whole.ids).toHaveLength(45);
    for (const [at, cursor] of whole.cursors.slice(0, -1).entries()) {
      expect((await read(cursor)).ids).toEqual(whole.ids.slice((at + 1) * 10));
    }
  });

  test('is read where its object is sealed', async () => {
    await bench.put('a.gz', gzipSync(`id\n${numbers(1, 3000)}`));
    const objects = createFileStore({
      folder: join(bench.workFolder, 'sealed'),
      dataKey: Buffer.alloc(32, 1),
      segmentBytes: 1024,
    });
    const engine = createEtlEngine({ objects, sourceRoots: { test: [bench.sources] } });
    const dataKey = { version: 1, key: Buffer.alloc(32, 2) };
    const definition = zipped({ type: 'csv' });
    const connection = { name: 'files', kind: 'file', config: { roots: ['.'] } };
    const object = await engine.pinSource({ agency: 'test', connection, source: definition.source, dataKey, signal });
    const plan = await engine.planSource({
      definition,
      contract,
      object,
      dataKeyOf: () => Promise.resolve(dataKey),
      workFolder: bench.workFolder,
      signal,
    });
    expect([object.keyVersion, plan.recordsTotal]).toEqual([1, 3000]);
  });

  test('gives back every content, whatever its members and the pieces it comes in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(2000), { maxLength: 5 }),
        async (parts, cuts) => {
          const content = Buffer.concat(parts);
          fc.pre(content.length > 0);
          const bytes = Buffer.concat(parts.map((part) => gzipSync(part)));
          expect((await decompress(bytes, cuts)).equals(content)).toBe(true);
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe('a gzip source that is not whole', () => {
  const whole = gzipSync(`id\n${numbers(1, 400)}`);
  const two = Buffer.concat([whole, whole]);
  const broken = Buffer.from(whole);
  broken[whole.length - 6] = (broken[whole.length - 6] ?? 0) ^ 0xff;
  test.each([
    ['ends in its first bytes', whole.subarray(0, 5), 'is not whole gzip data'],
    ['ends in the middle', whole.subarray(0, whole.length >> 1), 'is not whole gzip data'],
    ['ends in its checksum', whole.subarray(0, -5), 'is not whole gzip data'],
    ['ends in its second member', two.subarray(0, whole.length + 200), 'is not whole gzip data'],
    ['fails its checksum', broken, 'is not whole gzip data'],
    ['is not compressed', Buffer.from('id\n1\n'), 'is not whole gzip data'],
    ['goes on as text', Buffer.concat([whole, Buffer.from('401\n')]), 'is not whole gzip data'],
    ['goes on behind a zero byte', Buffer.concat([whole, Buffer.from('\x00401\n')]), 'goes on for 5 bytes'],
    ['holds nothing', gzipSync(''), 'holds nothing'],
  ])('because it %s, is refused', async (_name, bytes, message) => {
    await expect(runGzip(bytes)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining(`file:a.gz ${message}`) as string,
    });
    expect(readdirSync(bench.workFolder)).toEqual([]);
  });

  test('is refused at every length short of the whole', async () => {
    for (let length = 1; length < two.length; length += 37) {
      if (length === whole.length) continue;
      await expect(decompress(two.subarray(0, length), [whole.length])).rejects.toMatchObject({
        code: 'SOURCE_INVALID',
      });
    }
  });

  test('is refused where zeros or text follow in a piece of their own', async () => {
    for (const surplus of ['\0\0\0', '\0x', 'x', '\x1f', '\x1f\x8b']) {
      const bytes = Buffer.concat([whole, Buffer.from(surplus, 'latin1')]);
      await expect(decompress(bytes, [whole.length])).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
    }
  });
});

describe('a decompression bomb', () => {
  test('is stopped by its ratio, and leaves nothing', async () => {
    const before = process.memoryUsage().rss;
    await expect(runGzip(gzipSync(Buffer.alloc(200 * 2 ** 20)))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining('more than 250 times') as string,
    });
    expect(readdirSync(bench.workFolder)).toEqual([]);
    // The 200 MiB that this test compresses are its own.
    expect(process.memoryUsage().rss - before).toBeLessThan(400 * 2 ** 20);
  });

  test('is stopped by its size, and what stays just below is read', async () => {
    await bench.remove();
    const text = `id\n${numbers(1, 300)}`;
    const limits = { ratioMax: 250, byteCountMax: text.length };
    bench = await etlBench({ growthLimits: limits });
    expect((await runGzip(gzipSync(text))).read).toBe(300);
    await expect(runGzip(gzipSync(`${text}1\n`))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining(`more than ${text.length} bytes`) as string,
    });
  });
});
