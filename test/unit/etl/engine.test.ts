import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createEtlEngine } from '../../../src/etl/engine.ts';
import type { Batch, BatchesRequest, PipelineDefinition } from '../../../src/etl/engine-types.ts';
import { createFileStore } from '../../../src/objects/file-store.ts';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';
import { goodFiles, goodIds } from '../../support/copy-file.ts';

const contract = contractOf({ id: { type: 'integer' } });
const csv = (path = 'a.csv', records = 10): PipelineDefinition =>
  definitionOf(path, { type: 'csv' }, { batch: { records } });
const numbers = (count: number): string => `id\n${Array.from({ length: count }, (_each, at) => at + 1).join('\n')}\n`;

let bench: EtlBench;
beforeEach(async () => {
  bench = await etlBench();
});
afterEach(() => bench.remove());

async function open(
  content: string,
  more: { records?: number; signal?: AbortSignal } = {},
): Promise<Omit<BatchesRequest, 'cursor'>> {
  await bench.put('a.csv', content);
  const definition = csv('a.csv', more.records ?? 10);
  const signal = more.signal ?? new AbortController().signal;
  const object = await bench.pin(definition);
  const request = { definition, contract, object, workFolder: bench.workFolder, signal };
  const plan = await bench.engine.planSource({ ...request, signal: new AbortController().signal });
  return { ...request, range: plan.ranges[0] ?? {} };
}

const childrenOf = (): string[] =>
  readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);

describe('a run of batches', () => {
  test('resumes after any batch with exactly the records that follow', async () => {
    const request = await open(numbers(45));
    const cursors: (string | null)[] = [null];
    const ids: number[][] = [];
    for await (const batch of bench.engine.openBatches({ ...request, cursor: null })) {
      cursors.push(batch.cursor);
      ids.push(goodIds(batch));
      expect([batch.firstRecord, batch.lastRecord, batch.last]).toEqual([
        ids.length * 10 - 9,
        Math.min(ids.length * 10, 45),
        ids.length === 5,
      ]);
    }
    expect(ids.flat()).toEqual(Array.from({ length: 45 }, (_each, at) => at + 1));
    for (const at of [2, 5]) {
      const rest: number[][] = [];
      for await (const batch of bench.engine.openBatches({ ...request, cursor: cursors[at] ?? null }))
        rest.push(goodIds(batch));
      expect(rest.flat()).toEqual(ids.slice(at).flat());
      expect(rest.length).toBeGreaterThan(0);
    }
  });

  test('ends its child and removes its files when the consumer stops early', async () => {
    const request = await open(numbers(100));
    for await (const batch of bench.engine.openBatches({ ...request, cursor: null })) {
      expect(goodFiles(batch)).toHaveLength(1);
      expect(childrenOf().length).toBe(1);
      break;
    }
    expect(readdirSync(bench.workFolder)).toEqual([]);
    expect(childrenOf()).toEqual([]);
  });

  test('releases a batch’s file by itself', async () => {
    const request = await open(numbers(30));
    const batches = bench.engine.openBatches({ ...request, cursor: null })[Symbol.asyncIterator]();
    const first = (await batches.next()).value as Batch;
    expect(goodFiles(first)).toHaveLength(1);
    await first.release();
    expect(goodFiles(first)).toEqual([]);
    expect(goodIds((await batches.next()).value as Batch)).toEqual([11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
    await batches.return?.(undefined);
  });

  test('stops with the signal’s reason', async () => {
    const controller = new AbortController();
    const request = await open(numbers(100), { signal: controller.signal });
    const reason = new Error('lease lost');
    const seen = (async () => {
      for await (const batch of bench.engine.openBatches({ ...request, cursor: null })) {
        if (batch.firstRecord === 1) controller.abort(reason);
      }
    })();
    await expect(seen).rejects.toBe(reason);
    expect(readdirSync(bench.workFolder)).toEqual([]);
    expect(childrenOf()).toEqual([]);
  });

  test('reports a child that was killed as UNAVAILABLE', async () => {
    const request = await open(numbers(100));
    const seen = (async () => {
      for await (const batch of bench.engine.openBatches({ ...request, cursor: null })) {
        if (batch.firstRecord === 1) for (const pid of childrenOf()) process.kill(Number(pid), 'SIGKILL');
      }
    })();
    await expect(seen).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('SIGKILL') as string,
    });
  });

  test('kills a child that takes too long', async () => {
    const hasty = await etlBench({ stepTimeoutMs: 1 });
    try {
      await hasty.put('a.csv', numbers(10));
      await expect(hasty.run(csv(), contract)).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringContaining('within 1 ms') as string,
      });
      expect(childrenOf()).toEqual([]);
    } finally {
      await hasty.remove();
    }
  });

  test('fails an expression that wants all the memory, and only that run', async () => {
    await bench.put('a.csv', numbers(10));
    const definition = {
      ...csv(),
      transforms: [{ type: 'derive', column: 'n', sql: 'length(repeat(md5(id::varchar), 200000000))' }],
    };
    await expect(bench.run(definition, contract)).rejects.toMatchObject({ code: 'TRANSFORM_FAILED' });
    expect((await bench.run(csv(), contract)).rows.length).toBe(10);
  });

  test('gives a child no environment of its parent’s', async () => {
    process.env['FLUX_SECRET_PROBE'] = 'secret';
    const request = await open(numbers(100));
    for await (const batch of bench.engine.openBatches({ ...request, cursor: null })) {
      expect(batch.recordsRead).toBe(10);
      const environment = readFileSync(`/proc/${childrenOf()[0]}/environ`, 'utf8');
      expect(environment).not.toContain('secret');
      break;
    }
    delete process.env['FLUX_SECRET_PROBE'];
  });

  test('refuses a cursor of another place', async () => {
    const request = await open(numbers(10));
    for (const cursor of ['{"offset":3,"record":5000}', '{"offset":-1}', '[]', 'null']) {
      const batches = bench.engine.openBatches({ ...request, cursor })[Symbol.asyncIterator]();
      await expect(batches.next()).rejects.toMatchObject({ code: 'CHECKPOINT_INCOMPATIBLE' });
    }
  });
});

describe('pinning', () => {
  test('keeps the exact bytes at an address of the agency’s own', async () => {
    const text = `id\n1\n${'é'.repeat(10)}\n`;
    await bench.put('a.csv', text);
    const pinned = await bench.pin(csv());
    const again = await bench.pin(csv());
    expect(again).toEqual(pinned);
    expect(pinned).toMatchObject({ byteCount: Buffer.byteLength(text), origin: 'file:a.csv', mediaType: 'text/csv' });
    const store = createFileStore({ folder: join(bench.workFolder, 'o'), dataKey: Buffer.alloc(32, 1) });
    const bytes = async function* () {
      yield Buffer.from(text);
    };
    const one = await store.put('nasa', bytes());
    const other = await store.put('noaa', bytes());
    expect(one.sha256).toBe(pinned.sha256);
    expect(one.address.split('/')[1]).not.toBe(other.address.split('/')[1]);
    expect(await readFile(store.pathOf(one.address), 'utf8')).toBe(text);
    expect(() => store.pathOf('nasa/../../etc/passwd')).toThrow();
  });

  test('leaves nothing behind when the source fails in the middle', async () => {
    const folder = join(bench.workFolder, 'o');
    const store = createFileStore({ folder, dataKey: Buffer.alloc(32, 1) });
    const bytes = async function* () {
      yield Buffer.from('a');
      await Promise.reject(new Error('gone'));
    };
    await expect(store.put('nasa', bytes())).rejects.toThrow('gone');
    expect(readdirSync(join(folder, 'partial'))).toEqual([]);
    expect(readdirSync(folder)).toEqual(['partial']);
  });

  test.for([
    ['a file that is not there', 'nothing.csv', /does not exist/],
    ['an empty file', 'empty.csv', /is empty/],
    ['a folder', 'folder', /found a folder/],
    ['a link that leads out', 'out.csv', /leads out/],
    ['a way out', '../secret.csv', /without "\.\."/],
    ['an absolute path', '/etc/passwd', /relative path/],
  ] as const)('refuses %s', async ([, path, message]) => {
    await bench.put('empty.csv', '');
    await mkdir(join(bench.sources, 'folder'), { recursive: true });
    await writeFile(join(bench.workFolder, 'secret.csv'), 'id\n1\n');
    await symlink(join(bench.workFolder, 'secret.csv'), join(bench.sources, 'out.csv'));
    await expect(bench.pin(csv(path))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });

  test('says that a file may not be read', async ({ skip }) => {
    if (process.getuid?.() === 0) skip('root reads everything');
    await bench.put('locked.csv', 'id\n1\n');
    await chmod(join(bench.sources, 'locked.csv'), 0o000);
    await expect(bench.pin(csv('locked.csv'))).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining('cannot be read') as string,
    });
  });

  test('refuses roots that the operator did not allow, and agencies without any', async () => {
    await bench.put('a.csv', 'id\n1\n');
    const objects = createFileStore({ folder: join(bench.workFolder, 'o'), dataKey: Buffer.alloc(32, 1) });
    const engine = createEtlEngine({ objects, sourceRoots: { test: [bench.sources] } });
    const { signal } = new AbortController();
    const { source } = csv();
    const pin = (agency: string, roots: unknown, kind = 'file') =>
      engine.pinSource({ agency, connection: { name: 'c', kind, config: { roots } }, source, signal });
    await expect(pin('test', ['.'])).resolves.toMatchObject({ byteCount: 5 });
    await expect(pin('test', [bench.sources])).resolves.toMatchObject({ byteCount: 5 });
    for (const roots of [['/etc'], ['..'], ['/'], [`${bench.sources}-other`], 'none']) {
      await expect(pin('test', roots)).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
    }
    await expect(pin('other', ['.'])).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining('FLUX_SOURCE_ROOTS') as string,
    });
    await expect(pin('test', ['.'], 'constructor')).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
  });

  test('says that the pinned object is gone', async () => {
    await bench.put('a.csv', 'id\n1\n');
    const definition = csv();
    const object = { ...(await bench.pin(definition)), byteCount: 6 };
    const plan = bench.engine.planSource({
      definition,
      contract,
      object,
      workFolder: bench.workFolder,
      signal: new AbortController().signal,
    });
    await expect(plan).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' });
  });
});

test('a whole run through the engine, from a folder whose name holds a space', async () => {
  await bench.put('a.csv', numbers(100));
  const result = await bench.run(csv('a.csv', 7), contract);
  expect(result.plan).toMatchObject({ recordsTotal: 100, columns: [{ name: 'id', type: 'bigint' }] });
  expect(result.plan.ranges.length).toBe(3);
  expect(result.rows.length).toBe(100);
});
