import { expect, test } from 'vitest';

import { createAssassin } from '../../../src/cli/demo/kill-worker.ts';
import type { WatchedEvent } from '../../../src/cli/demo/watch-run.ts';

let seq = 0;
function event(name: string, data: Record<string, unknown>): WatchedEvent {
  seq += 1;
  return { seq: String(seq), name, data };
}
const claimed = (partition: number, worker: string, name = 'PartitionClaimed') => event(name, { partition, worker });
const batch = (partition: number, read: number, last = false) => event('BatchCommitted', { partition, read, last });

test('names the worker whose batch passes the mark, once, and times the next holder’s first batch', async () => {
  let now = 0;
  const assassin = createAssassin(250, () => now);
  expect(assassin.observe(claimed(1, 'a'))).toBeNull();
  expect(assassin.observe(claimed(2, 'b'))).toBeNull();
  expect(assassin.observe(batch(1, 100))).toBeNull();
  expect(assassin.observe(batch(2, 100))).toBeNull();
  expect(assassin.observe(batch(2, 100))).toEqual({ worker: 'b', partition: 2 });
  now = 1_000;
  // What the dead worker had committed, and what others commit, is no recovery.
  expect(assassin.observe(batch(2, 100))).toBeNull();
  expect(assassin.observe(batch(1, 100))).toBeNull();
  now = 6_500;
  assassin.observe(claimed(2, 'a', 'PartitionTakenOver'));
  assassin.observe(batch(2, 100));
  await expect(assassin.recovered).resolves.toBe(6.5);
});

test('spares a worker that has just committed its partition’s last batch: nothing would be left to recover', () => {
  const assassin = createAssassin(100, () => 0);
  assassin.observe(claimed(1, 'a'));
  assassin.observe(claimed(2, 'b'));
  expect(assassin.observe(batch(1, 100, true))).toBeNull();
  expect(assassin.observe(batch(2, 10))).toEqual({ worker: 'b', partition: 2 });
});
