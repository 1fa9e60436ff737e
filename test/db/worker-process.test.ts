import { beforeAll, describe, expect, it } from 'vitest';

import { channels, notify } from '../../src/db/notify.ts';
import { sql } from '../../src/db/sql.ts';
import { startWorker } from '../../src/worker/worker.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
});

const status = async (runId: string): Promise<string> => {
  const { rows } = await database
    .admin()
    .query<{ status: string }>(sql`select status from flux.runs where run_id = ${runId}`);
  return rows[0]?.status ?? 'absent';
};
const until = async (holds: () => Promise<boolean>): Promise<void> => {
  const deadline = performance.now() + 20_000;
  while (!(await holds())) if (performance.now() > deadline) throw new Error('waited 20 s in vain');
};
const values = Array.from({ length: 200 }, (_, i) => i);

describe('startWorker', () => {
  it('works runs of several agencies and partitions, two workers side by side, each record once', async () => {
    const engine = fakeEngine({ values, partitions: 4, batchRecords: 10 });
    const runs: string[] = [];
    for (const agency of ['nasa', 'noaa']) {
      await bench.addPipeline({ agency });
      runs.push(await bench.queueRun(agency, 'numbers'), await bench.queueRun(agency, 'numbers'));
    }
    const workers = await Promise.all([bench.start(engine, { id: 'one' }), bench.start(engine, { id: 'two' })]);
    await until(async () => (await Promise.all(runs.map(status))).every((state) => state === 'COMPLETED'));
    await Promise.all(workers.map((worker) => worker.stop({ graceMs: 5_000 })));
    for (const agency of ['nasa', 'noaa'] as const) {
      const lake = agency === 'nasa' ? sql`lake_nasa.numbers` : sql`lake_noaa.numbers`;
      const { rows } = await database
        .agencyPool(agency, 'ro')
        .query(sql`select count(*)::int as n, count(distinct value)::int as d from ${lake}`);
      expect(rows).toEqual([{ n: 400, d: 200 }]);
    }
    const { rows } = await database.admin().query<{ run_id: string; ok: boolean; endings: number }>(sql`
      select run_id, count(*) = max(seq) as ok, (count(*) filter (where name = 'RunCompleted'))::int as endings
      from flux.run_events group by run_id
    `);
    expect(rows.every(({ ok, endings }) => ok && endings === 1)).toBe(true);
  });

  it('stops after the batch in hand, gives the partition back, and another goes on from there', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'drained', dataset: 'drained' });
    const source: FakeSource = { values: values.slice(0, 10), partitions: 1, batchRecords: 2 };
    let reached = (): void => undefined;
    const third = new Promise<void>((resolve) => (reached = resolve));
    const waits = fakeEngine({
      ...source,
      beforeBatch: ({ batch, signal }) => {
        if (batch !== 3) return;
        reached();
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      },
    });
    const runId = await bench.queueRun('nasa', 'drained');
    const worker = await bench.start(waits);
    await third;
    const startedAt = performance.now();
    await worker.stop({ graceMs: 25_000 });
    await worker.stop({ graceMs: 25_000 });
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    const { rows } = await database.admin().query(sql`
      select status, takings, records_read::int as read from flux.run_partitions where run_id = ${runId} and partition_no = 1
    `);
    expect(rows).toEqual([{ status: 'AVAILABLE', takings: 0, read: 4 }]);

    await bench.start(fakeEngine(source));
    await until(async () => (await status(runId)) === 'COMPLETED');
    const { rows: events } = await database.admin().query<{ data: { reason: string } }>(sql`
      select data from flux.run_events where run_id = ${runId} and name = 'PartitionRetried'
    `);
    expect(events.map(({ data }) => data.reason)).toEqual(['DRAINED']);
  });

  it('gives a plan back that the stop interrupts', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'planning', dataset: 'planning' });
    let reached = (): void => undefined;
    const pinning = new Promise<void>((resolve) => (reached = resolve));
    const engine = fakeEngine({
      values,
      partitions: 1,
      batchRecords: 10,
      beforePin: (signal) => {
        reached();
        return new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true }),
        );
      },
    });
    const runId = await bench.queueRun('nasa', 'planning');
    const worker = await bench.start(engine);
    await pinning;
    await worker.stop({ graceMs: 10_000 });
    const { rows } = await database
      .admin()
      .query(sql`select status, takings from flux.run_partitions where run_id = ${runId}`);
    expect(rows).toEqual([{ status: 'AVAILABLE', takings: 0 }]);
    await database.admin().query(sql`update flux.run_partitions set status = 'CANCELLED' where run_id = ${runId}`);
  });

  it('expects more work while it has none, once it has had some', async () => {
    await bench.addPipeline({ agency: 'noaa', name: 'burst', dataset: 'burst' });
    let expected = 0;
    const engine = fakeEngine({ values: [1], partitions: 1, batchRecords: 1 });
    await bench.start({ ...engine, expectWork: () => (expected += 1) }, { times: { pollMs: 5 } });
    const runId = await bench.queueRun('noaa', 'burst');
    await until(async () => (await status(runId)) === 'COMPLETED');
    const soFar = expected;
    await until(async () => (await status(runId)) === 'COMPLETED' && expected > soFar + 2);
  });

  it('is woken by a hint long before its poll', async () => {
    await bench.addPipeline({ agency: 'noaa', name: 'hinted', dataset: 'hinted' });
    await bench.start(fakeEngine({ values: [1], partitions: 1, batchRecords: 1 }), {
      times: { leaseMs: 5_000, heartbeatMs: 1_000, pollMs: 600_000 },
    });
    const runId = await bench.queueRun('noaa', 'hinted');
    const again = setInterval(() => void notify(database.workerPool(), channels.work), 20);
    await until(async () => (await status(runId)) === 'COMPLETED');
    clearInterval(again);
  });

  it('waits for a database that is not there, and stops all the same', async () => {
    let misses = 0;
    let twice = (): void => undefined;
    const missedTwice = new Promise<void>((resolve) => (twice = resolve));
    const warn = (_fields: object, message: string): void => {
      if (message === 'no work can be claimed now') misses += 1;
      if (misses === 2) twice();
    };
    const log = { debug: () => undefined, info: () => undefined, warn, error: () => undefined };
    const worker = startWorker(
      {
        databaseUrl: 'postgres://nobody@127.0.0.1:1/none',
        contextKey: Buffer.alloc(32),
        workFolder: '/nowhere',
        times: { pollMs: 5 },
      },
      { engine: fakeEngine({ values: [], partitions: 1, batchRecords: 1 }), log },
    );
    await missedTwice;
    expect(worker.id).toMatch(new RegExp(`-${String(process.pid)}-[0-9a-f]{4}$`));
    await worker.stop({ graceMs: 1_000 });
  });
});
