import { afterAll, beforeAll, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import type { WorkerDeps } from '../../src/worker/work.ts';
import { type ChaosProxy, startChaosProxy } from '../support/chaos-proxy.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine } from '../support/fake-engine.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
let cutter: ChaosProxy;

beforeAll(async () => {
  await database.addAgency('bts');
  cutter = await startChaosProxy(database.adminUrl);
});
afterAll(() => cutter.close());

const values = [1, 2, 'bad', 4, 5, 6] as const;

/** Cuts the reply to the COMMIT of one batch; of no batch, that of the publication. */
async function runWithCut(name: string, cutBatch: number | null): Promise<{ runId: string; outcomes: string[] }> {
  await bench.addPipeline({ agency: 'bts', name, dataset: name });
  const runId = await bench.queueRun('bts', name);
  const direct = await bench.deps(
    fakeEngine({
      values,
      partitions: 1,
      batchRecords: 2,
      beforeBatch: ({ batch }) => {
        if (batch === cutBatch && cutter.cuts === cutsBefore) cutter.cutNextCommit();
      },
    }),
  );
  const cutsBefore = cutter.cuts;
  const deps: WorkerDeps = {
    ...direct,
    config: { ...direct.config, databaseUrl: cutter.url(direct.config.databaseUrl) },
  };
  const outcomes: string[] = [];
  for (;;) {
    await database
      .admin()
      .query(sql`update flux.run_partitions set available_at = clock_timestamp() where run_id = ${runId}`);
    const claim = await bench.claim().catch(() => null);
    if (!claim) break;
    outcomes.push(await executePartition(deps, claim, new AbortController().signal));
  }
  expect(cutter.cuts).toBe(cutsBefore + 1);
  return { runId, outcomes };
}

async function expectExactlyOnce(runId: string, name: string): Promise<void> {
  const { rows: runs } = await database.admin().query(sql`select status from flux.runs where run_id = ${runId}`);
  expect(runs).toEqual([{ status: 'COMPLETED' }]);
  const { rows } = await database.admin().query<{ data: { batch: number } }>(sql`
    select data from flux.run_events where run_id = ${runId} and name = 'BatchCommitted' order by seq
  `);
  expect(rows.map(({ data }) => data.batch)).toEqual([1, 2, 3]);
  const { rows: loads } = await database.admin().query(sql`
    select record_count::int as count from flux.loads where dataset = ${name}
  `);
  expect(loads).toEqual([{ count: 5 }]);
}

it('counts a batch once whose COMMIT succeeded although its reply never came', async () => {
  const { runId, outcomes } = await runWithCut('cutfirst', 1);
  expect(outcomes).toEqual(['completed', 'retried', 'completed', 'completed']);
  await expectExactlyOnce(runId, 'cutfirst');
});

it('does not work a partition again whose last COMMIT succeeded although its reply never came', async () => {
  const { runId, outcomes } = await runWithCut('cutlast', 3);
  expect(outcomes).toEqual(['completed', 'abandoned', 'completed']);
  await expectExactlyOnce(runId, 'cutlast');
});

it('knows its own end although a beat finds it before the reply to its COMMIT comes', async () => {
  await bench.addPipeline({ agency: 'bts', name: 'late', dataset: 'late' });
  const runId = await bench.queueRun('bts', 'late');
  // Beats take the direct way, and there are several of them between a COMMIT and its reply.
  const direct = await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 6 }), {
    times: { heartbeatMs: 5 },
  });
  const deps: WorkerDeps = {
    ...direct,
    config: { ...direct.config, databaseUrl: cutter.url(direct.config.databaseUrl) },
  };
  cutter.delay(30);
  try {
    const outcomes = [];
    for (let taking = 0; taking < 3; taking += 1) {
      outcomes.push(await executePartition(deps, await bench.claim(), new AbortController().signal));
    }
    expect(outcomes).toEqual(['completed', 'completed', 'completed']);
  } finally {
    cutter.delay(0);
  }
  const { rows: runs } = await database.admin().query(sql`select status from flux.runs where run_id = ${runId}`);
  expect(runs).toEqual([{ status: 'COMPLETED' }]);
});
