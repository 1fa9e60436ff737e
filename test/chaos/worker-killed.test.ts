import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterEach, beforeAll, expect } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';
import { useWorkerBench } from '../support/worker.ts';
import { it } from './suite-clock.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const children: ChildProcess[] = [];
const folders: string[] = [];
const count = 60;
/** The promise (docs/reliability.md), the next batch included. */
const boundMs = 10_000;

beforeAll(() => database.addAgency('bts'));
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true, force: true })));
});

async function startChild(id: string): Promise<ChildProcess> {
  const workFolder = await mkdtemp(path.join(tmpdir(), 'flux-chaos-'));
  folders.push(workFolder);
  const configuration = {
    databaseUrl: database.workerUrl,
    contextKey: database.contextKey.toString('hex'),
    workFolder,
    id,
    count,
    batchRecords: 2,
    batchMs: 120,
  };
  const script = fileURLToPath(new URL('../support/worker-child.ts', import.meta.url));
  const child = spawn(process.execPath, [script, JSON.stringify(configuration)], { stdio: 'inherit' });
  children.push(child);
  return child;
}

interface BatchEvent {
  seq: bigint;
  at: Date;
  data: { batch: number; epoch: number };
}
const batches = async (runId: string): Promise<BatchEvent[]> =>
  (
    await database.admin().query<BatchEvent>(sql`
      select seq, at, data from flux.run_events where run_id = ${runId} and name = 'BatchCommitted' order by seq
    `)
  ).rows;
const until = async (holds: () => Promise<boolean>): Promise<void> => {
  const deadline = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('waited 60 s in vain');
    await database.admin().query(sql`select pg_sleep(0.02)`);
  }
};
const ended = async (runId: string): Promise<string | undefined> => {
  const { rows } = await database.admin().query<{ status: string }>(sql`
    select status from flux.runs where run_id = ${runId} and finished_at is not null
  `);
  return rows[0]?.status;
};

async function expectExactlyOnce(runId: string, dataset: 'killed' | 'frozen'): Promise<void> {
  expect(await ended(runId)).toBe('COMPLETED');
  const found = await batches(runId);
  expect(found.map(({ data }) => data.batch)).toEqual(Array.from({ length: count / 2 }, (_, i) => i + 1));
  const epochs = found.map(({ data }) => data.epoch);
  expect(epochs).toEqual([...epochs].sort((a, b) => a - b));
  const table = dataset === 'killed' ? sql`lake_bts.killed` : sql`lake_bts.frozen`;
  const { rows } = await database.agencyPool('bts', 'ro').query(sql`
    select count(*)::int as n, count(distinct value)::int as d from ${table}
  `);
  expect(rows).toEqual([{ n: count, d: count }]);
  const { rows: events } = await database.admin().query(sql`
    select count(*) = max(seq) as gapless from flux.run_events where run_id = ${runId}
  `);
  expect(events).toEqual([{ gapless: true }]);
}

it('goes on soon after a worker’s SIGKILL, and each record is there once', async () => {
  await bench.addPipeline({ agency: 'bts', name: 'killed', dataset: 'killed' });
  const runId = await bench.queueRun('bts', 'killed');
  const victim = await startChild('victim');
  await until(async () => (await batches(runId)).length >= 3);
  await startChild('heir');
  const gone = once(victim, 'exit');
  const { rows } = await database.admin().query<{ at: Date }>(sql`select clock_timestamp() as at`);
  victim.kill('SIGKILL');
  await gone;
  await until(async () => (await ended(runId)) !== undefined);
  await expectExactlyOnce(runId, 'killed');
  const next = (await batches(runId)).find(({ data }) => data.epoch > 1);
  expect((next as BatchEvent).at.getTime() - (rows[0] as { at: Date }).at.getTime()).toBeLessThan(boundMs);
});

it('lets a worker that was frozen past its lease write nothing when it wakes', async () => {
  await bench.addPipeline({ agency: 'bts', name: 'frozen', dataset: 'frozen' });
  const runId = await bench.queueRun('bts', 'frozen');
  const zombie = await startChild('zombie');
  await until(async () => (await batches(runId)).length >= 3);
  zombie.kill('SIGSTOP');
  await startChild('heir');
  await until(async () => (await batches(runId)).some(({ data }) => data.epoch > 1));
  zombie.kill('SIGCONT');
  await until(async () => (await ended(runId)) !== undefined);
  await expectExactlyOnce(runId, 'frozen');
});

it('drains on SIGTERM: the batch commits, and the partition is free at once', async () => {
  await bench.addPipeline({ agency: 'bts', name: 'drained', dataset: 'drained' });
  const runId = await bench.queueRun('bts', 'drained');
  const child = await startChild('drained');
  await until(async () => (await batches(runId)).length >= 2);
  const startedAt = performance.now();
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  expect(await gone).toEqual([0, null]);
  expect(performance.now() - startedAt).toBeLessThan(boundMs);
  const { rows } = await database.admin().query(sql`
    select status, leased_by from flux.run_partitions where run_id = ${runId} and kind = 'BATCHES'
  `);
  expect(rows).toEqual([{ status: 'AVAILABLE', leased_by: null }]);
});
