import { beforeAll, describe, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';
import { insertRun } from '../support/fixtures.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const source: FakeSource = { values: Array.from({ length: 14 }, (_, i) => i), partitions: 1, batchRecords: 2 };
const alive = new AbortController().signal;

beforeAll(async () => {
  for (const agency of ['nasa', 'noaa']) await database.addAgency(agency);
});

const served = async (agency: string): Promise<number> => {
  const { rows } = await database
    .admin()
    .query<{ served: number }>(sql`select served from flux.agency_turns where agency_id = ${agency}`);
  return rows[0]?.served ?? 0;
};

describe('a partition', () => {
  it('gives its turn up after a quantum when another agency waits: committed, free, no attempt counted, no failure', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'turns', dataset: 'turns' });
    const runId = await bench.queueRun('nasa', 'turns');
    const deps = await bench.deps(fakeEngine(source), { quantumBatches: 3 });
    await executePartition(deps, await bench.claim(), alive); // the plan
    const other = await insertRun(database, 'noaa');
    const held = await bench.claim();
    const waits = held.agencyId === 'nasa' ? held : await bench.claim();
    expect(waits.runId).toBe(runId);
    if (held.agencyId === 'noaa') {
      await database.admin().query(sql`
        update flux.run_partitions set status = 'AVAILABLE', leased_by = null, lease_expires_at = null where run_id = ${other.runId}
      `);
    }
    expect(await executePartition(deps, waits, alive)).toBe('yielded');
    const { rows } = await database.admin().query(sql`
      select p.status, p.takings, p.records_read::int as read, r.attempt, r.status as run
      from flux.run_partitions p join flux.runs r using (run_id) where p.run_id = ${runId} and p.partition_no = 1
    `);
    expect(rows).toEqual([{ status: 'AVAILABLE', takings: 0, read: 6, attempt: 1, run: 'IN_PROGRESS' }]);
    expect((await bench.claim()).runId).toBe(other.runId);

    // The other one is at work now and nobody waits: the rest is done in one taking of two quanta, from the checkpoint on.
    const before = await served('nasa');
    expect(await bench.drain(deps)).toEqual(['completed', 'completed']);
    expect(await served('nasa')).toBe(before + 4 + 1);
    const run = await readRun(database, runId);
    expect(run).toMatchObject({ status: 'COMPLETED', attempt: 1, batches: 7 });
    expect(run.events.filter(({ name }) => name === 'PartitionYielded')).toMatchObject([
      { data: { partition: 1, quantum: 3 } },
    ]);
    expect(run.events.some(({ name }) => name === 'PartitionRetried' || name === 'PartitionTakenOver')).toBe(false);
    await database.admin().query(sql`update flux.run_partitions set status = 'CANCELLED', leased_by = null,
      lease_expires_at = null where run_id = ${other.runId}`);
  });

  it('keeps its turn while it is alone: no release, however many quanta', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'alone', dataset: 'alone' });
    const runId = await bench.queueRun('nasa', 'alone');
    const deps = await bench.deps(fakeEngine(source), { quantumBatches: 1 });
    expect(await bench.drain(deps)).toEqual(['completed', 'completed', 'completed']);
    const run = await readRun(database, runId);
    expect(run.partitions.map(({ epoch }) => epoch)).toEqual([1, 1, 1]);
    expect(run.events.some(({ name }) => name === 'PartitionYielded')).toBe(false);
  });

  it('of two agencies with one worker, in quanta: neither waits for the other’s end', async () => {
    const runs: string[] = [];
    for (const agency of ['nasa', 'noaa']) {
      await bench.addPipeline({ agency, name: 'both', dataset: 'both' });
      runs.push(await bench.queueRun(agency, 'both'));
    }
    const deps = await bench.deps(fakeEngine(source), { quantumBatches: 2 });
    const outcomes = await bench.drain(deps);
    expect(outcomes.filter((outcome) => outcome === 'yielded').length).toBeGreaterThanOrEqual(4);
    expect(outcomes.filter((outcome) => outcome === 'completed').length).toBe(6);
    for (const runId of runs)
      expect(await readRun(database, runId)).toMatchObject({ status: 'COMPLETED', attempt: 1, batches: 7 });
  });
});
