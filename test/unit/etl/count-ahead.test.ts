import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { appendFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import type { Batch, PinnedObject, PinRequest, PlanRequest } from '../../../src/etl/engine-types.ts';
import { createFileStore } from '../../../src/objects/file-store.ts';
import type { DataKey, ObjectStore } from '../../../src/objects/object-store.ts';
import { goodIds } from '../../support/copy-file.ts';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

const childrenOf = (): string[] =>
  readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
const records = 200_000;
const lines = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_each, at) => `${String(from + at)},record number ${String(from + at)}`).join(
    '\n',
  );
const key: DataKey = { version: 3, key: randomBytes(32) };

let folder: string;
let keepFolder: string;
let objects: ObjectStore;
let bench: EtlBench;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flux ahead-'));
  keepFolder = await mkdtemp(join(tmpdir(), 'flux kept-'));
  objects = createFileStore({ folder, dataKey: Buffer.alloc(32, 7) });
  bench = await etlBench({ keepFolder, objects });
  await bench.put('a.csv', `id,name\n${lines(1, records + 1)}\n`);
});
afterEach(async () => {
  await nothingLeft();
  await Promise.all([
    bench.remove(),
    ...[folder, keepFolder].map((each) => rm(each, { recursive: true, force: true })),
  ]);
});

async function nothingLeft(): Promise<void> {
  await vi.waitFor(() => expect([childrenOf(), readdirSync(keepFolder)]).toEqual([[], []]), { timeout: 30_000 });
}

const definition = definitionOf('a.csv', { type: 'csv' }, { batch: { records: 20_000 } });
const { signal } = new AbortController();

function planned(more: Partial<PlanRequest> = {}): Omit<PlanRequest, 'object'> {
  const contract = contractOf({ id: { type: 'integer' }, name: { type: 'string' } });
  const dataKeyOf = async (): Promise<DataKey> => key;
  return { runId: 'one', definition, contract, dataKeyOf, workFolder: bench.workFolder, signal, ...more };
}

const connection = { name: 'files', kind: 'file', config: { roots: ['.'] } };
const pin = (more: Partial<PinRequest> = {}): Promise<PinnedObject> =>
  bench.engine.pinSource({
    agency: 'test',
    connection,
    source: definition.source,
    planned: planned(),
    signal,
    ...more,
  });

/** So that only who has opened it before can read it. */
async function takeAway({ address }: PinnedObject): Promise<void> {
  await rm(objects.pathOf(address));
}

describe('a source that is counted while it is copied', () => {
  test.each([
    ['plain', null],
    ['sealed', key],
  ])('is planned and read as one that is counted afterwards, %s', async (_how, dataKey) => {
    const before = await bench.engine.planSource({ ...planned(), object: await bench.pin(definition) });
    await nothingLeft();
    const object = await pin({ dataKey });
    await takeAway(object);

    const plan = await bench.engine.planSource({ ...planned(), object });

    expect(plan).toEqual(before);
    expect(plan.recordsTotal).toBe(records);
    let read = 0;
    const ids: number[] = [];
    for (const range of plan.ranges) {
      const batches: AsyncIterable<Batch> = bench.engine.openBatches({ ...planned(), object, range, cursor: null });
      for await (const batch of batches) {
        read += batch.recordsRead;
        ids.push(...goodIds(batch));
        await batch.release();
      }
    }
    expect(read).toBe(records);
    expect(ids).toEqual(Array.from({ length: records }, (_each, at) => at + 1));
  });

  test('is counted anew where the plan asks for something else', async () => {
    const object = await pin();
    const narrow = contractOf({ id: { type: 'integer' }, name: { type: 'string', maxLength: 3 } });

    const plan = await bench.engine.planSource({ ...planned({ contract: narrow }), object });

    expect(plan.recordsTotal).toBe(records);
  });

  test('that changes meanwhile is refused, and nobody counts any more', async () => {
    const path = join(bench.sources, 'a.csv');
    const { size } = await stat(path);
    let grown = 0;
    // Each looks like one that a writer has not finished.
    const growing = setInterval(() => {
      grown += 1;
      void appendFile(path, `${lines(1, 1_000)}\n`);
    }, 0);
    const refused = await pin().catch((cause: unknown) => cause);
    clearInterval(growing);
    expect(grown).toBeGreaterThan(0);
    expect((await stat(path)).size).toBeGreaterThan(size);
    expect(refused).toMatchObject({ code: 'SOURCE_UNAVAILABLE' });
    await nothingLeft();
    expect(readdirSync(join(folder, 'partial'))).toEqual([]);
  });

  test('says what is wrong with it when it is planned', async () => {
    await bench.put('a.csv', 'id,name\n1,"never closed\n');
    const object = await pin();
    await expect(bench.engine.planSource({ ...planned(), object })).rejects.toThrow(/opens a quote/);
  });

  test('keeps no child where its plan never comes, once another is asked for', async () => {
    await pin();
    expect(childrenOf()).toHaveLength(1);
    await pin();
    const object = await bench.pin(definition);
    await bench.engine.planSource({ ...planned({ contract: null }), object });
    await nothingLeft();
    expect(existsSync(objects.pathOf(object.address))).toBe(true);
  });
});
