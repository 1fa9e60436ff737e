import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { lockLease, recordHolder } from '../../src/db/partitions.ts';
import { connect, type Connection } from '../../src/db/pool.ts';
import type { Claim } from '../../src/db/queue.ts';
import { rescuePartitions } from '../../src/db/queue.ts';
import { sql } from '../../src/db/sql.ts';
import { takeoverWaits } from '../../src/db/takeover.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { takeoverMs } from '../../src/worker/watch.ts';
import { defaultTimes } from '../../src/worker/worker.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine } from '../support/fake-engine.ts';
import { insertRun } from '../support/fixtures.ts';
import { readRun, until } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const alive = new AbortController().signal;
const sessions: (Connection & { end(): Promise<void> })[] = [];

beforeAll(async () => {
  for (const agency of ['nasa', 'noaa']) await database.addAgency(agency);
});
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.end().catch(() => undefined);
  // A run that a test leaves behind must not be claimed by the next.
  await database.admin().query(sql`
    update flux.run_partitions set status = 'CANCELLED', leased_by = null, lease_expires_at = null
    where status in ('AVAILABLE', 'EXECUTING')
  `);
});

/** A holder that froze in the middle of a transaction, with its lease row locked. */
async function freeze(claim: Claim): Promise<Connection> {
  const session = await connect({ url: database.urlFor(claim.role), applicationName: 'frozen holder' });
  sessions.push(session);
  expect(await recordHolder(session, claim)).toBe(true);
  await session.query(sql`begin`);
  expect(await lockLease(session, claim)).toBe(true);
  return session;
}
const expire = (claim: Claim) =>
  database.admin().query(sql`
    update flux.run_partitions set lease_expires_at = clock_timestamp() - interval '1 second'
    where run_id = ${claim.runId} and partition_no = ${claim.partitionNo}
  `);
const waits = () => takeoverWaits(database.workerPool());

it('the times of a worker leave an abandoned partition less than ten seconds, also where all are at batches of three seconds', () => {
  expect(takeoverMs(defaultTimes)).toBeLessThanOrEqual(6_000);
  expect(takeoverMs(defaultTimes, 3_000)).toBeLessThan(10_000);
  // One beat may be late or lost, and the lease stands.
  expect(2 * defaultTimes.heartbeatMs).toBeLessThan(defaultTimes.leaseMs);
});

describe('flux.takeover_waits', () => {
  it('is true of an abandoned partition, once nothing of its late holder is left', async () => {
    await insertRun(database, 'nasa');
    expect(await waits()).toBe(false);
    const claim = await bench.claim('frozen');
    expect(await waits()).toBe(false);
    await freeze(claim);
    await expire(claim);
    expect(await waits()).toBe(false);
    expect(await rescuePartitions(database.workerPool())).toBe(1);
    await until(waits);
    expect((await bench.claim('heir')).takenOver).toBe(true);
    expect(await waits()).toBe(false);
  });

  it('is true where the holder had not come so far as to open a session, and false of an agency that is not enabled', async () => {
    await insertRun(database, 'nasa');
    await expire(await bench.claim('gone'));
    expect(await waits()).toBe(true);
    await database.admin().query(sql`update flux.agencies set enabled = false where agency_id = 'nasa'`);
    expect(await waits()).toBe(false);
    await database.admin().query(sql`update flux.agencies set enabled = true where agency_id = 'nasa'`);
  });
});

describe('a worker that is busy', () => {
  it('gives way after a batch, not after a quantum, when another’s partition is abandoned', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'orphan', dataset: 'orphan' });
    const small = await bench.deps(fakeEngine({ values: [1, 2], partitions: 1, batchRecords: 2 }));
    const orphan = await bench.queueRun('nasa', 'orphan');
    await executePartition(small, await bench.claim(), alive); // the plan
    const gone = await bench.claim('gone');

    await bench.addPipeline({ agency: 'noaa', name: 'long', dataset: 'long' });
    const long = await bench.queueRun('noaa', 'long');
    const batchCount = 2_000;
    const worker = await bench.start(
      fakeEngine({ values: Array.from({ length: batchCount }, (_, i) => i), partitions: 1, batchRecords: 1 }),
      { quantumBatches: batchCount },
    );
    await until(async () => (await readRun(database, long)).batches >= 2);
    await expire(gone);
    await until(async () => (await readRun(database, orphan)).events.some(({ name }) => name === 'PartitionTakenOver'));
    const busy = await readRun(database, long);
    expect(busy.batches).toBeLessThan(batchCount);
    expect(busy.events.filter(({ name }) => name === 'PartitionYielded')).toHaveLength(1);
    await worker.stop({ graceMs: 10_000 });
  });

  it('frees itself of a frozen worker of the same run that holds the run’s row, without a failed try', async () => {
    await bench.addPipeline({ agency: 'nasa', name: 'shared', dataset: 'shared' });
    const engine = fakeEngine({ values: [1, 2, 3, 4], partitions: 2, batchRecords: 1 });
    const runId = await bench.queueRun('nasa', 'shared');
    await executePartition(await bench.deps(engine), await bench.claim(), alive); // the plan
    const frozen = await freeze(await bench.claim('frozen', 1_500));
    await frozen.query(sql`select from flux.runs where run_id = ${runId} for update`);
    // The only other worker takes the other partition, and waits for the run's row where it says so.
    const worker = await bench.start(engine, { quantumBatches: 1_000 });
    await until(async () => (await readRun(database, runId)).status === 'COMPLETED');
    await worker.stop({ graceMs: 10_000 });
    const { events } = await readRun(database, runId);
    expect(events.filter(({ name }) => name === 'PartitionRetried')).toEqual([]);
    expect(events.filter(({ name }) => name === 'PartitionTakenOver')).toHaveLength(1);
    const { rows } = await database.agencyPool('nasa', 'ro').query(sql`
      select count(*)::int as n, count(distinct value)::int as d from lake_nasa.shared
    `);
    expect(rows).toEqual([{ n: 4, d: 4 }]);
  });
});

it('a claim whose network tore between two of its messages keeps nobody from claiming', async () => {
  await bench.addPipeline({ agency: 'nasa', name: 'torn', dataset: 'torn' });
  const runId = await bench.queueRun('nasa', 'torn');
  const torn = await connect({ url: database.workerUrl, applicationName: 'torn', statementTimeoutMs: 4_000 });
  sessions.push(torn);
  // Everything of a claim but its last message: the server has decided it, keeps what it locked, and waits for the client.
  const wire = torn.client as unknown as {
    connection: Record<'parse' | 'bind' | 'execute', (message: object) => void> & { flush(): void };
  };
  wire.connection.parse({ text: `select from flux.claim_partition('torn', 5000, 10)`, types: [] });
  wire.connection.bind({ values: [] });
  wire.connection.execute({});
  wire.connection.flush();
  await until(async () => {
    const { rows } = await database.admin().query(sql`
      select from pg_stat_activity where application_name = 'torn' and state = 'active' and wait_event = 'ClientRead'
    `);
    return rows.length === 1;
  });
  const worker = await bench.start(fakeEngine({ values: [1, 2], partitions: 1, batchRecords: 2 }));
  await until(async () => (await readRun(database, runId)).status === 'COMPLETED');
  await worker.stop({ graceMs: 10_000 });
});
