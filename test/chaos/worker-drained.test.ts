import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';
import { readRun, until } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

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

async function startChild(id: string, more: { count: number; batchMs: number }): Promise<ChildProcess> {
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
  }, 60_000);

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
  }, 60_000);
});
