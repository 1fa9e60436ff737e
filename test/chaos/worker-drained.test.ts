import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterEach, beforeAll, describe, expect } from 'vitest';

import { ident, sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';
import { readRun, until } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';
import { it } from './suite-clock.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const children: ChildProcess[] = [];
const folders: string[] = [];

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

async function startChild(id: string, more: { count: number; batchMs: number; pin?: string }): Promise<ChildProcess> {
  const workFolder = await mkdtemp(path.join(tmpdir(), 'flux-chaos-'));
  folders.push(workFolder);
  const contextKey = database.contextKey.toString('hex');
  const configuration = { databaseUrl: database.workerUrl, contextKey, workFolder, id, batchRecords: 2, ...more };
  const script = fileURLToPath(new URL('../support/worker-child.ts', import.meta.url));
  const child = spawn(process.execPath, [script, JSON.stringify(configuration)], { stdio: 'inherit' });
  children.push(child);
  return child;
}

const partition = async (runId: string) => {
  const { rows } = await database.admin().query<{ status: string; leased_by: string | null; read: number }>(sql`
    select status, leased_by, records_read::int as read from flux.run_partitions where run_id = ${runId} and partition_no = 1
  `);
  return rows[0];
};
/** Ends a worker in good order. @returns how long it took, and its exit code */
async function terminate(child: ChildProcess): Promise<{ ms: number; code: number | null }> {
  const startedAt = performance.now();
  const gone = once(child, 'exit') as Promise<[number | null]>;
  child.kill('SIGTERM');
  const [code] = await gone;
  return { ms: performance.now() - startedAt, code };
}

describe('SIGTERM to a worker', () => {
  it('lets the batch in hand commit, gives the partition back, and another worker goes on at once', async () => {
    await bench.addPipeline({ agency: 'bts', name: 'drained', dataset: 'drained' });
    const runId = await bench.queueRun('bts', 'drained');
    const first = await startChild('first', { count: 20, batchMs: 1_500 });
    await until(async () => (await partition(runId))?.read === 2);
    const { ms, code } = await terminate(first);
    expect(code).toBe(0);
    expect(ms).toBeLessThan(10_000);
    // The batch that was being made at the signal is there, and nobody has to wait for a lease to run out.
    expect(await partition(runId)).toEqual({ status: 'AVAILABLE', leased_by: null, read: 4 });

    await startChild('second', { count: 20, batchMs: 10 });
    await until(async () => (await readRun(database, runId)).status === 'COMPLETED');
    const run = await readRun(database, runId);
    expect(run).toMatchObject({ attempt: 1, batches: 10 });
    expect(run.events.some(({ name }) => name === 'PartitionTakenOver')).toBe(false);
    const { rows } = await database.agencyPool('bts', 'ro').query(sql`
      select count(*)::int as n, count(distinct value)::int as d from lake_bts.drained
    `);
    expect(rows).toEqual([{ n: 20, d: 20 }]);
  });

  it('drops a batch that is not made in time, and is gone within ten seconds all the same, its lease given back', async () => {
    await bench.addPipeline({ agency: 'bts', name: 'long', dataset: 'long' });
    const runId = await bench.queueRun('bts', 'long');
    const child = await startChild('patient', { count: 20, batchMs: 600_000 });
    await until(async () => (await partition(runId))?.status === 'EXECUTING');
    const { ms, code } = await terminate(child);
    expect(code).toBe(0);
    expect(ms).toBeLessThan(10_000);
    expect(await partition(runId)).toEqual({ status: 'AVAILABLE', leased_by: null, read: 0 });
    const { rows } = await database.admin().query(sql`select from flux.workers where worker_id = 'patient'`);
    expect(rows).toEqual([]);
  });

  for (const pin of ['never', 'never, and deaf']) {
    it(`ends a PLAN whose source is pinned ${pin}: its lease is given back within ten seconds, and another worker plans it`, async () => {
      const name = pin === 'never' ? 'planned' : 'deaf';
      await bench.addPipeline({ agency: 'bts', name, dataset: name });
      const runId = await bench.queueRun('bts', name);
      const first = await startChild('first', { count: 4, batchMs: 1, pin });
      await until(async () =>
        (await readRun(database, runId)).events.some((event) => event.name === 'PartitionClaimed'),
      );
      const { ms, code } = await terminate(first);
      expect(code).toBe(0);
      expect(ms).toBeLessThan(10_000);
      expect(await standing(runId, 0)).toEqual({ kind: 'PLAN', status: 'AVAILABLE', leased_by: null });
      await expectCompletedBySecond(runId, name, 4);
    });
  }

  it('ends a PUBLISH that cannot go on, on the server too, and another worker shows the load once', async () => {
    await bench.addPipeline({ agency: 'bts', name: 'shown', dataset: 'shown' });
    const runId = await bench.queueRun('bts', 'shown');
    await database.admin().withConnection(async (somebody) => {
      const first = await startChild('first', { count: 20, batchMs: 200 });
      await until(async () => (await readRun(database, runId)).batches >= 1);
      // Somebody is at the dataset for long: what the worker does at the server goes on while nobody listens.
      await somebody.query(sql`begin`);
      await somebody.query(sql`select from flux.datasets where agency_id = 'bts' and name = 'shown' for no key update`);
      await until(async () => (await waitingForLocks('first')) > 0);
      const { ms, code } = await terminate(first);
      expect(code).toBe(0);
      expect(ms).toBeLessThan(10_000);
      expect(await standing(runId, 2)).toEqual({ kind: 'PUBLISH', status: 'AVAILABLE', leased_by: null });
      // A session that still waited would keep the partition's row locked, and everybody would pass over it.
      expect(await waitingForLocks('first')).toBe(0);
      await somebody.query(sql`rollback`);
    });
    await expectCompletedBySecond(runId, 'shown', 20);
  });
});

async function standing(runId: string, partitionNo: number): Promise<object | undefined> {
  const { rows } = await database.admin().query(sql`
    select kind, status, leased_by from flux.run_partitions where run_id = ${runId} and partition_no = ${partitionNo}
  `);
  return rows[0];
}

/** Sessions of a worker that wait for a lock. */
async function waitingForLocks(worker: string): Promise<number> {
  const { rows } = await database.admin().query(sql`
    select from pg_stat_activity where application_name = ${`flux worker ${worker}`} and wait_event_type = 'Lock'
  `);
  return rows.length;
}

/** Nobody waits for a lease to run out, and each record is there once. */
async function expectCompletedBySecond(runId: string, dataset: string, count: number): Promise<void> {
  await startChild('second', { count, batchMs: 1 });
  await until(async () => (await readRun(database, runId)).status === 'COMPLETED');
  const { attempt, events } = await readRun(database, runId);
  expect(attempt).toBe(1);
  const names = events.map(({ name }) => name);
  expect(names.filter((name) => name === 'PartitionTakenOver')).toEqual([]);
  expect(names.filter((name) => name === 'LoadPublished')).toHaveLength(1);
  expect(events.filter(({ name }) => name === 'PartitionRetried')).toMatchObject([{ data: { reason: 'DRAINED' } }]);
  const { rows } = await database.agencyPool('bts', 'ro').query(sql`
    select count(*)::int as n, count(distinct value)::int as d from ${ident('lake_bts', dataset)}
  `);
  expect(rows).toEqual([{ n: count, d: count }]);
}
