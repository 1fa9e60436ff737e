import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { PlanRequest } from '../../../src/etl/engine-types.ts';
import { SpareChild } from '../../../src/etl/spare-child.ts';
import { contractOf, definitionOf, type EtlBench, etlBench } from '../../support/etl.ts';

const childrenOf = (): string[] =>
  readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
const definition = definitionOf('a.csv', { type: 'csv' });

let bench: EtlBench;
beforeEach(async () => {
  bench = await etlBench({});
  await bench.put('a.csv', 'id\n1\n2\n');
});
afterEach(() => bench.remove());

async function planRequest(signal: AbortSignal): Promise<PlanRequest> {
  const object = await bench.pin(definition);
  const { workFolder } = bench;
  return { definition, contract: contractOf({ id: { type: 'integer' } }), object, workFolder, signal };
}

test('a child that was begun when work was expected is the one that works, once', async () => {
  bench.engine.expectWork?.();
  bench.engine.expectWork?.();
  const begun = childrenOf();
  expect(begun).toHaveLength(1);
  const plan = bench.engine.planSource(await planRequest(new AbortController().signal));
  expect(childrenOf()).toEqual(begun);
  expect((await plan).recordsTotal).toBe(2);
  // It has served one source, and serves no other.
  expect(childrenOf()).toEqual([]);
});

test('a child that was begun ends with its engine', async () => {
  bench.engine.expectWork?.();
  expect(childrenOf()).toHaveLength(1);
  await bench.engine.close?.();
  expect(childrenOf()).toEqual([]);
});

test('a child that was begun ends with the work that took it', async () => {
  const spare = new SpareChild(undefined);
  spare.begin();
  const begun = childrenOf();
  const work = new AbortController();
  expect(spare.take(work.signal).pid).toBe(Number(begun[0]));
  work.abort(new Error('enough'));
  await vi.waitFor(() => expect(childrenOf()).toEqual([]), { timeout: 30_000 });
});

test('a child that was begun waits as long as work is expected, and half a minute more', () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const spare = new SpareChild(undefined);
    spare.begin();
    const begun = Number(childrenOf()[0]);
    for (let times = 0; times < 5; times += 1) {
      vi.advanceTimersByTime(20_000);
      spare.begin();
    }
    vi.advanceTimersByTime(29_000);
    const taken = spare.take(new AbortController().signal);
    expect(taken.pid).toBe(begun);
    void taken.stop();
    spare.begin();
    const [forgotten] = childrenOf().filter((pid) => Number(pid) !== begun);
    vi.advanceTimersByTime(31_000);
    const other = spare.take(new AbortController().signal);
    expect(other.pid).not.toBe(Number(forgotten));
    void other.stop();
  } finally {
    vi.useRealTimers();
  }
});

test('a child that died while it waited is not missed', async () => {
  bench.engine.expectWork?.();
  process.kill(Number(childrenOf()[0]), 'SIGKILL');
  await vi.waitFor(() => expect(childrenOf()).toEqual([]), { timeout: 30_000 });
  await expect(bench.engine.planSource(await planRequest(new AbortController().signal))).resolves.toMatchObject({
    recordsTotal: 2,
  });
});
