import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Batch, BatchesRequest, PlanRequest, SourcePlan } from '../../../src/etl/engine-types.ts';
import { goodFiles, goodRows } from '../../support/copy-file.ts';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

const numbers = (count: number): string => `id\n${Array.from({ length: count }, (_each, at) => at + 1).join('\n')}\n`;
const childrenOf = (): string[] =>
  readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);

let bench: EtlBench;
let keepFolder: string;
beforeEach(async () => {
  keepFolder = await mkdtemp(join(tmpdir(), 'flux kept-'));
  bench = await etlBench({ keepFolder });
  await bench.put('a.csv', numbers(100));
});
afterEach(async () => {
  await nothingKept();
  await Promise.all([bench.remove(), rm(keepFolder, { recursive: true, force: true })]);
});

/** What is kept goes by itself, with its folder. */
async function nothingKept(): Promise<void> {
  await vi.waitFor(() => expect([childrenOf(), readdirSync(keepFolder)]).toEqual([[], []]), { timeout: 30_000 });
}

const definition = definitionOf('a.csv', { type: 'csv' }, { batch: { records: 10 } });

async function planOf(more: Partial<PlanRequest> = {}): Promise<{ plan: SourcePlan; request: PlanRequest }> {
  const request: PlanRequest = {
    runId: 'one',
    definition,
    contract: contractOf({ id: { type: 'integer' } }),
    object: await bench.pin(definition),
    workFolder: bench.workFolder,
    signal: new AbortController().signal,
    ...more,
  };
  return { plan: await bench.engine.planSource(request), request };
}

/** @returns the processes that worked, and the records */
async function readRange(
  request: PlanRequest,
  range: BatchesRequest['range'],
): Promise<{ pids: string[]; read: number }> {
  const pids = new Set<string>();
  // As a worker has it: a folder for each taking, which goes with it, and a signal that is aborted at the end.
  const workFolder = join(bench.workFolder, 'taking');
  mkdirSync(workFolder);
  const reading = new AbortController();
  let read = 0;
  for await (const batch of bench.engine.openBatches({
    ...request,
    workFolder,
    signal: reading.signal,
    range,
    cursor: null,
  })) {
    for (const pid of childrenOf()) pids.add(pid);
    read += batch.recordsRead - batch.rejected.length;
    await batch.release();
    if (batch.last) reading.abort();
  }
  await rm(workFolder, { recursive: true });
  return { pids: [...pids], read };
}

/** The numbers of a batch's good records, each of which holds its own number too. */
function rowsOf(batch: Batch): number[] {
  return goodRows(batch, [{ name: 'id', type: 'bigint' }]).map(([record, id]) => {
    expect(id).toBe(record);
    return Number(record);
  });
}

describe('a child that has finished its range', () => {
  test('serves the plan and every range of its run', async () => {
    const { plan, request } = await planOf();
    expect(plan.ranges.length).toBe(2);
    const kept = childrenOf();
    expect(kept.length).toBe(1);
    for (const range of plan.ranges) expect(await readRange(request, range)).toEqual({ pids: kept, read: 50 });
  });

  test('has begun the range behind it, and gives those records once', async () => {
    const { plan, request } = await planOf();
    const [first = {}, second = {}] = plan.ranges;
    await readRange(request, first);
    const made = await vi.waitFor(() => {
      const files = readdirSync(keepFolder, { recursive: true, encoding: 'utf8' }).filter((name) =>
        /good-\d+\.rows$/.test(name),
      );
      expect(files).toHaveLength(1);
      return join(keepFolder, files[0] ?? '');
    });
    const numbers: number[] = [];
    const given: string[] = [];
    for await (const batch of bench.engine.openBatches({ ...request, range: second, cursor: null })) {
      given.push(...goodFiles(batch));
      numbers.push(...rowsOf(batch));
      await batch.release();
    }
    expect(given[0]).toBe(made);
    expect(numbers).toEqual(Array.from({ length: 50 }, (_each, at) => at + 51));
  });

  test('begins the range behind it before anybody takes the last batch', async () => {
    const { plan, request } = await planOf();
    const read = bench.engine.openBatches({ ...request, range: plan.ranges[0] ?? {}, cursor: null });
    const batches = read[Symbol.asyncIterator]();
    const numbers: number[] = [];
    const take = async (): Promise<void> => {
      const { value } = await batches.next();
      const batch = value as Batch;
      numbers.push(...rowsOf(batch));
      await batch.release();
    };
    for (let taken = 0; taken < 4; taken += 1) await take();
    await vi.waitFor(
      () => expect(readdirSync(keepFolder, { recursive: true, encoding: 'utf8' }).join()).toMatch(/good-6\.rows/),
      { timeout: 30_000 },
    );
    await take();
    expect(numbers).toEqual(Array.from({ length: 50 }, (_each, at) => at + 1));
    expect(await batches.next()).toMatchObject({ done: true });
  });

  test('reads any range and any cursor right, whatever it has begun', async () => {
    const { plan, request } = await planOf({ definition: { ...definition, batch: { records: 5 } } });
    expect(plan.ranges.length).toBe(4);
    const wanted = [
      { range: 0, cursor: null, numbers: [1, 25] },
      { range: 2, cursor: null, numbers: [51, 75] },
      { range: 1, cursor: null, numbers: [26, 50] },
      { range: 2, cursor: null, numbers: [51, 75] },
      { range: 2, cursor: 65, numbers: [66, 75] },
      { range: 3, cursor: 80, numbers: [81, 100] },
    ];
    for (const { range, cursor, numbers } of wanted) {
      const found: number[] = [];
      const offset = Buffer.byteLength(
        `id\n${Array.from({ length: cursor ?? 0 }, (_each, at) => `${at + 1}\n`).join('')}`,
      );
      const at = cursor === null ? null : JSON.stringify({ offset, record: cursor });
      for await (const batch of bench.engine.openBatches({ ...request, range: plan.ranges[range] ?? {}, cursor: at })) {
        found.push(...rowsOf(batch));
        await batch.release();
      }
      const [from = 0, to = 0] = numbers;
      expect(found).toEqual(Array.from({ length: to - from + 1 }, (_each, place) => from + place));
    }
  });

  test('serves no other run, contract or source', async () => {
    const { plan, request } = await planOf();
    const [range = {}] = plan.ranges;
    await bench.put('b.csv', numbers(99));
    const other = { ...definition, source: { ...definition.source, path: 'b.csv' } };
    const differing: Partial<PlanRequest>[] = [
      { runId: 'two' },
      { contract: contractOf({ id: { type: 'integer', maximum: 40 } }) },
      { definition: other, object: await bench.pin(other) },
    ];
    for (const more of differing) {
      const [kept = ''] = (await readRange(request, range)).pids;
      const { pids, read } = await readRange({ ...request, ...more }, range);
      expect(pids).not.toContain(kept);
      expect(read).toBe('contract' in more ? 40 : 50);
      await nothingKept();
    }
  });

  test('is not kept when its reader stops early, or fails', async () => {
    const { plan, request } = await planOf();
    for await (const batch of bench.engine.openBatches({ ...request, range: plan.ranges[0] ?? {}, cursor: null })) {
      await batch.release();
      break;
    }
    expect([childrenOf(), readdirSync(keepFolder)]).toEqual([[], []]);
  });
});
