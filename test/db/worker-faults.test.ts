import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { beginning } from '../../src/checkpoint/position.ts';
import { copyIntoLoad } from '../../src/db/lake.ts';
import { connect } from '../../src/db/pool.ts';
import { type Claim, heartbeat, rescuePartitions } from '../../src/db/queue.ts';
import { rolePassword } from '../../src/db/roles.ts';
import { type Sql, sql } from '../../src/db/sql.ts';
import { FluxError } from '../../src/errors.ts';
import type { Batch } from '../../src/etl/engine-types.ts';
import { commitBatch } from '../../src/worker/commit-batch.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { fenced } from '../../src/worker/fenced.ts';
import { withHolder } from '../../src/worker/holder.ts';
import { openWork } from '../../src/worker/open-work.ts';
import type { WorkerDeps } from '../../src/worker/work.ts';
import { auditBodies } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const alive = new AbortController().signal;
const taking = { draining: alive, closing: alive, turn: { batches: 0, charged: 1, traceId: null } };

beforeAll(() => database.addAgency('faa'));
// A run that a test leaves behind must not be claimed by the next.
afterEach(async () => {
  await database.admin().query(sql`
    update flux.run_partitions set status = 'CANCELLED', leased_by = null, lease_expires_at = null
    where status in ('AVAILABLE', 'EXECUTING')
  `);
});

async function audited(runId: string, action: string): Promise<object[]> {
  return (await auditBodies(database, 'faa')).filter(
    (entry) => entry['resourceId'] === runId && entry['action'] === action,
  );
}

async function one<T extends object>(query: Sql): Promise<T> {
  const { rows } = await database.admin().query<T>(query);
  return rows[0] as T;
}
const runOf = (runId: string) =>
  one<{ status: string; failure_code: string | null; failure_message: string; last_seq: bigint }>(
    sql`select * from flux.runs where run_id = ${runId}`,
  );
const eventsOf = async (runId: string) =>
  (
    await database.admin().query<{ seq: bigint; name: string; data: Record<string, unknown>; message: string }>(sql`
      select seq, name, data, message from flux.run_events where run_id = ${runId} order by seq
    `)
  ).rows;
const expire = (claim: Claim) =>
  database.admin().query(sql`
    update flux.run_partitions set lease_expires_at = clock_timestamp() - interval '1 second'
    where run_id = ${claim.runId} and partition_no = ${claim.partitionNo}
  `);
const available = (runId: string) =>
  database.admin().query(sql`update flux.run_partitions set available_at = clock_timestamp() where run_id = ${runId}`);

let serial = 0;
/** A run of a pipeline and dataset of its own. */
async function queue(
  values: FakeSource['values'],
): Promise<{ runId: string; dataset: string; values: FakeSource['values'] }> {
  serial += 1;
  const dataset = `d${String(serial)}`;
  await bench.addPipeline({ agency: 'faa', name: dataset, dataset });
  return { runId: await bench.queueRun('faa', dataset), dataset, values };
}
const loaded = async (dataset: string): Promise<number[]> => {
  const { rows } = await database
    .admin()
    .query<{ query_to_xml: string }>(
      sql`select query_to_xml(${`select value from lake_faa.${dataset}__l1 order by _flux_record`}, true, false, '')::text as query_to_xml`,
    );
  return [...(rows[0]?.query_to_xml ?? '').matchAll(/<value>(\d+)</g)].map(([, value]) => Number(value));
};

async function nextBatch(deps: WorkerDeps, claim: Claim): Promise<Batch> {
  const request = {
    range: { partition: 1, from: 0, to: 4 },
    cursor: null,
    signal: alive,
    contract: null,
    workFolder: deps.config.workFolder,
  };
  const batches = deps.engine.openBatches({ ...request, definition: {} as never, object: {} as never });
  for await (const batch of batches) return batch;
  throw new Error(`no batch for ${claim.runId}`);
}

describe('fencing', () => {
  it('lets a zombie write nothing: neither rows nor counts, checkpoint, events or audit', async () => {
    const { runId, dataset, values } = await queue([1, 2, 3, 4]);
    const deps = await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 2 }));
    await executePartition(deps, await bench.claim(), alive);
    const zombie = await bench.claim('zombie');
    await withHolder(deps, zombie, alive, async (holder) => {
      const work = await openWork(deps, { claim: zombie, holder, lost: alive }, taking);
      const before = await runOf(runId);
      await expire(zombie);
      const table = { schema: work.lake, dataset, loadNo: 1n };
      const commit = async () =>
        commitBatch(work, { table, columns: ['id', 'value'] }, beginning, await nextBatch(deps, zombie));
      await expect(commit()).rejects.toMatchObject({ code: 'LEASE_LOST' });

      const heir = await bench.claim('heir');
      expect(heir).toMatchObject({ epoch: zombie.epoch + 1, takenOver: true });
      await expect(commit()).rejects.toMatchObject({ code: 'LEASE_LOST' });
      expect(await runOf(runId)).toEqual(before);
      expect(await loaded(dataset)).toEqual([]);
      expect(await one(sql`select count(*)::int as n from flux.checkpoints where run_id = ${runId}`)).toEqual({ n: 0 });
      expect(await audited(runId, 'batch.commit')).toEqual([]);
    });
  });

  it('keeps a claimer away while a batch that began in time is still open, and does not block the heartbeat', async () => {
    const { values } = await queue([1]);
    const deps = await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 1 }));
    const claim = await bench.claim();
    await withHolder(deps, claim, alive, (holder) =>
      fenced({ claim, holder, lost: alive }, async () => {
        expect((await heartbeat(database.workerPool(), claim, 3_000)).held).toBe(true);
        await expire(claim);
        await expect(bench.claim('other')).rejects.toThrow(/found none/);
      }),
    );
    expect((await bench.claim('other')).epoch).toBe(claim.epoch + 1);
  });

  it('refuses a session of a partition that is not held', async () => {
    const { values } = await queue([1]);
    const deps = await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 1 }));
    const claim = await bench.claim();
    const stale = { ...claim, epoch: claim.epoch - 1 };
    await expect(withHolder(deps, stale, alive, () => Promise.resolve())).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(await executePartition(deps, stale, alive)).toBe('abandoned');
  });

  it('abandons a partition whose lease is lost while it is worked', async () => {
    const { runId, values } = await queue([1, 2, 3, 4]);
    const engine = fakeEngine({
      values,
      partitions: 1,
      batchRecords: 2,
      beforeBatch: async ({ batch, signal }) => {
        if (batch !== 2) return;
        await database
          .admin()
          .query(
            sql`update flux.run_partitions set epoch = epoch + 1 where run_id = ${runId} and status = 'EXECUTING'`,
          );
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      },
    });
    const deps = await bench.deps(engine, { times: { heartbeatMs: 20 } });
    await executePartition(deps, await bench.claim(), alive);
    expect(await executePartition(deps, await bench.claim(), alive)).toBe('abandoned');
    expect((await eventsOf(runId)).filter(({ name }) => name === 'BatchCommitted')).toHaveLength(1);
  });
});

describe('takeover', () => {
  it('ends the backend that a frozen holder left in a transaction, and another worker takes the partition', async () => {
    const { runId, dataset, values } = await queue([1, 2, 3, 4]);
    const deps = await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 2 }));
    await executePartition(deps, await bench.claim(), alive);
    const frozen = await bench.claim('frozen');
    const url = new URL(database.workerUrl);
    url.username = frozen.role;
    url.password = rolePassword(database.contextKey, frozen.role);
    const holder = await connect({ url: url.href, applicationName: 'frozen' });
    try {
      await holder.query(
        sql`update flux.run_partitions set holder_pid = pg_backend_pid() where run_id = ${runId} and epoch = ${frozen.epoch}`,
      );
      await holder.query(sql`begin`);
      await holder.query(
        sql`select from flux.run_partitions where run_id = ${runId} and partition_no = ${frozen.partitionNo} for key share`,
      );
      await expire(frozen);
      await expect(bench.claim('heir')).rejects.toThrow(/found none/);

      expect(await rescuePartitions(database.workerPool())).toBe(1);
      await expect(holder.query(sql`select 1`)).rejects.toThrow();
      const worker = await bench.start(deps.engine);
      await until(async () => (await runOf(runId)).status === 'COMPLETED');
      await worker.stop({ graceMs: 5_000 });
    } finally {
      await holder.end().catch(() => undefined);
    }
    const events = await eventsOf(runId);
    expect(events.find(({ name }) => name === 'PartitionTakenOver')?.data).toMatchObject({
      partition: 1,
      epoch: frozen.epoch + 1,
    });
    expect(await loaded(dataset)).toEqual([1, 2, 3, 4]);
  });

  it('goes on after the last committed batch, and does none twice', async () => {
    const { runId, dataset } = await queue([1, 2, 'bad', 4, 5, 6]);
    const source: FakeSource = { values: [1, 2, 'bad', 4, 5, 6], partitions: 1, batchRecords: 2 };
    const dies = new AbortController();
    const deps = await bench.deps(
      fakeEngine({
        ...source,
        beforeBatch: ({ batch }) => {
          if (batch === 3) throw new FluxError('LEASE_LOST', 'the process died here'); // nothing is settled
        },
      }),
    );
    await executePartition(deps, await bench.claim(), alive);
    const first = await bench.claim();
    expect(await executePartition(deps, first, dies.signal)).toBe('abandoned');
    await expire(first);
    expect(await bench.drain(await bench.deps(fakeEngine(source)))).toEqual(['completed', 'completed']);
    expect(await loaded(dataset)).toEqual([1, 2, 4, 5, 6]);
    const batches = (await eventsOf(runId))
      .filter(({ name }) => name === 'BatchCommitted')
      .map(({ data }) => [data['batch'], data['epoch']]);
    expect(batches).toEqual([
      [1, 1],
      [2, 1],
      [3, 2],
    ]);
  });
});

describe('a batch happens once', () => {
  it('refuses the same batch of the same partition a second time, rows included', async () => {
    const { runId, dataset, values } = await queue([1, 2, 3, 4]);
    const deps = await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 2 }));
    await executePartition(deps, await bench.claim(), alive);
    const claim = await bench.claim();
    await withHolder(deps, claim, alive, async (holder) => {
      const work = await openWork(deps, { claim, holder, lost: alive }, taking);
      const destination = { table: { schema: work.lake, dataset, loadNo: 1n }, columns: ['id', 'value'] };
      await commitBatch(work, destination, beginning, await nextBatch(deps, claim));
      await expect(commitBatch(work, destination, beginning, await nextBatch(deps, claim))).rejects.toMatchObject({
        code: '23505',
      });
    });
    expect(await loaded(dataset)).toEqual([1, 2]);
    expect((await eventsOf(runId)).filter(({ name }) => name === 'BatchCommitted')).toHaveLength(1);
  });

  it('does not repeat a batch whose COMMIT succeeded although its reply was lost', async () => {
    const { runId, dataset, values } = await queue([1, 2, 3, 4]);
    let batches = 0;
    const engine = fakeEngine({ values, partitions: 1, batchRecords: 2 });
    const deps = await bench.deps({
      ...engine,
      async *openBatches(request) {
        for await (const batch of engine.openBatches(request)) {
          batches += 1;
          yield batch;
          // The first batch has committed; to the worker its reply was lost.
          if (batches === 1)
            throw Object.assign(new Error('Connection terminated unexpectedly'), { code: 'ECONNRESET' });
        }
      },
    });
    await executePartition(deps, await bench.claim(), alive);
    expect(await executePartition(deps, await bench.claim(), alive)).toBe('retried');
    await available(runId);
    expect(await bench.drain(deps)).toEqual(['completed', 'completed']);
    expect(await loaded(dataset)).toEqual([1, 2, 3, 4]);
    expect((await runOf(runId)).status).toBe('COMPLETED');
  });

  it('leaves nothing of a batch whose backend was ended before the COMMIT', async () => {
    const { runId, dataset, values } = await queue([1, 2, 3, 4]);
    const deps = await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 2 }));
    await executePartition(deps, await bench.claim(), alive);
    const claim = await bench.claim();
    const failed = withHolder(deps, claim, alive, (holder) =>
      fenced({ claim, holder, lost: alive }, async (tx) => {
        const batch = await nextBatch(deps, claim);
        await copyIntoLoad(
          tx,
          { schema: 'lake_faa', dataset, loadNo: 1n },
          ['id', 'value'],
          { path: batch.goodFile, format: 'csv' },
          alive,
        );
        await database
          .admin()
          .query(
            sql`select pg_terminate_backend(holder_pid) from flux.run_partitions where run_id = ${runId} and partition_no = 1`,
          );
        await tx.query(sql`select 1`);
      }),
    );
    await expect(failed).rejects.toThrow();
    expect(await loaded(dataset)).toEqual([]);
  });
});

describe('checkpoints', () => {
  const corrupt = (runId: string, version: number) =>
    database.admin().query(sql`
      update flux.checkpoints set body = overlay(body placing '\\x21'::bytea from 20) where run_id = ${runId} and version = ${version}
    `);
  /** Three of four batches are committed, then the holder dies. */
  const interrupted = async () => {
    const { runId, dataset, values } = await queue([1, 'bad', 3, 'bad', 5, 6, 7, 8]);
    const source: FakeSource = { values, partitions: 1, batchRecords: 2 };
    const deps = await bench.deps(
      fakeEngine({
        ...source,
        beforeBatch: ({ batch }) => {
          if (batch === 4) throw new FluxError('LEASE_LOST', 'the process died here');
        },
      }),
    );
    await executePartition(deps, await bench.claim(), alive);
    const claim = await bench.claim();
    await executePartition(deps, claim, alive);
    await expire(claim);
    return { runId, dataset, whole: await bench.deps(fakeEngine(source)) };
  };

  it('falls back to the newest one that verifies, undoes what came after it, and says so', async () => {
    const { runId, dataset, whole } = await interrupted();
    await corrupt(runId, 3);
    await corrupt(runId, 2);
    expect(await bench.drain(whole)).toEqual(['completed', 'completed']);
    expect((await runOf(runId)).status).toBe('COMPLETED');
    expect(await loaded(dataset)).toEqual([1, 3, 5, 6, 7, 8]);
    const rejected = (await eventsOf(runId)).find(({ name }) => name === 'CheckpointRejected');
    expect(rejected?.data).toMatchObject({
      partition: 1,
      rejectedVersions: [3, 2],
      resumesFrom: 1,
      undone: { written: 3, rejected: 1 },
    });
    expect(await audited(runId, 'checkpoint.reject')).toMatchObject([
      { success: false, errorCode: 'CHECKPOINT_CORRUPTED' },
    ]);
    const counts = await one(
      sql`select records_read::int as read, records_rejected::int as rejected from flux.run_partitions where run_id = ${runId} and partition_no = 1`,
    );
    expect(counts).toEqual({ read: 8, rejected: 2 });
  });

  it('fails the run when none of them verifies', async () => {
    const { runId, whole } = await interrupted();
    for (const version of [1, 2, 3]) await corrupt(runId, version);
    expect(await bench.drain(whole)).toEqual(['failed']);
    expect(await runOf(runId)).toMatchObject({ status: 'FAILED', failure_code: 'CHECKPOINT_CORRUPTED' });
  });
});

describe('retries', () => {
  it('gives a partition back after a failure that passes, and completes at the next taking', async () => {
    const { runId, values } = await queue([1, 2]);
    let failures = 1;
    const engine = fakeEngine({
      values,
      partitions: 1,
      batchRecords: 2,
      beforePin: () => {
        if (failures-- > 0) throw new FluxError('SOURCE_UNAVAILABLE', 'The share is not mounted.');
      },
    });
    const deps = await bench.deps(engine);
    expect(await bench.drain(deps)).toEqual(['retried']);
    const partition = await one<{ wait: number }>(sql`
      select status, takings, extract(epoch from available_at - clock_timestamp()) as wait from flux.run_partitions where run_id = ${runId}
    `);
    expect(partition).toMatchObject({ status: 'AVAILABLE', takings: 1 });
    expect(Number(partition.wait)).toBeLessThanOrEqual(0.25);
    const retried = (await eventsOf(runId)).find(({ name }) => name === 'PartitionRetried');
    expect(retried?.data).toMatchObject({ reason: 'SOURCE_UNAVAILABLE', takings: 1, delayMs: 250 });
    await available(runId);
    expect(await bench.drain(deps)).toEqual(['completed', 'completed', 'completed']);
    expect((await eventsOf(runId)).filter(({ name }) => name === 'RunStarted')).toHaveLength(1);
  });

  it('fails the run as poison at the fifth failure without a committed batch, and names the last cause', async () => {
    const { runId, values } = await queue([1]);
    const deps = await bench.deps(
      fakeEngine({
        values,
        partitions: 1,
        batchRecords: 2,
        beforePin: () => Promise.reject(new FluxError('SOURCE_UNAVAILABLE', 'The share is not mounted.')),
      }),
    );
    const outcomes = [];
    for (let i = 0; i < 5; i += 1) {
      outcomes.push(...(await bench.drain(deps)));
      await available(runId);
    }
    expect(outcomes).toEqual(['retried', 'retried', 'retried', 'retried', 'failed']);
    const run = await runOf(runId);
    expect(run).toMatchObject({ status: 'FAILED', failure_code: 'POISON_PARTITION' });
    expect(run.failure_message).toMatch(/failed 5 times.*SOURCE_UNAVAILABLE: The share is not mounted/);
  });

  it('fails the run as poison when holders died five times without a word', async () => {
    const { runId, values } = await queue([1]);
    for (let i = 0; i < 5; i += 1) await expire(await bench.claim());
    const deps = await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 2 }));
    expect(await bench.drain(deps)).toEqual(['failed']);
    expect(await runOf(runId)).toMatchObject({ status: 'FAILED', failure_code: 'POISON_PARTITION' });
  });

  it('does not count takings that committed a batch', async () => {
    const { runId, values } = await queue([1, 2, 3, 4, 5, 6, 7, 8]);
    let batch = 0;
    const engine = fakeEngine({ values, partitions: 1, batchRecords: 1 });
    const deps = await bench.deps({
      ...engine,
      async *openBatches(request) {
        for await (const next of engine.openBatches(request)) {
          batch += 1;
          yield next;
          throw new FluxError('UNAVAILABLE', 'The child died.');
        }
      },
    });
    for (let i = 0; i < 12; i += 1) {
      await bench.drain(deps);
      await available(runId);
    }
    expect(batch).toBe(8);
    expect((await runOf(runId)).status).toBe('COMPLETED');
  });

  it('ends a run at once on a failure that does not pass, with everything that is left of it', async () => {
    const { runId, values } = await queue([1, 2, 3, 4]);
    const engine = fakeEngine({
      values,
      partitions: 2,
      batchRecords: 2,
      beforeBatch: () => Promise.reject(new FluxError('TRANSFORM_FAILED', 'year(\0flight_date) has no value.')),
    });
    expect(await bench.drain(await bench.deps(engine))).toEqual(['completed', 'failed']);
    expect(await runOf(runId)).toMatchObject({
      status: 'FAILED',
      failure_code: 'TRANSFORM_FAILED',
      failure_message: 'year(␀flight_date) has no value.',
    });
    const { rows } = await database
      .admin()
      .query<{ status: string }>(
        sql`select partition_no, status from flux.run_partitions where run_id = ${runId} order by 1`,
      );
    expect(rows.map(({ status }) => status)).toEqual(['COMPLETED', 'FAILED', 'CANCELLED']);
    const events = await eventsOf(runId);
    expect(events.at(-1)).toMatchObject({
      name: 'RunFailed',
      data: { code: 'TRANSFORM_FAILED', cancelledPartitions: 1 },
    });
  });

  it('keeps the text of an unexpected failure in the log, under the id that the run shows', async () => {
    const { runId, values } = await queue([1]);
    const deps = await bench.deps(
      fakeEngine({ values, partitions: 1, batchRecords: 2, beforePin: () => Promise.reject(new Error('secret')) }),
    );
    await bench.drain(deps);
    const run = await runOf(runId);
    expect(run.failure_message).not.toMatch(/secret/);
    const logged = bench.log.find(({ level }) => level === 'error');
    expect(run.failure_message).toContain(String(logged?.fields['errorId']));
  });

  it('leaves a run alone that somebody ended meanwhile', async () => {
    const { runId, values } = await queue([1, 2]);
    const engine = fakeEngine({
      values,
      partitions: 1,
      batchRecords: 2,
      beforeBatch: async () => {
        await database
          .admin()
          .query(
            sql`update flux.runs set status = 'CANCELLED', finished_at = clock_timestamp() where run_id = ${runId}`,
          );
      },
    });
    expect(await bench.drain(await bench.deps(engine))).toEqual(['completed', 'abandoned']);
    expect((await eventsOf(runId)).map(({ name }) => name)).not.toContain('BatchCommitted');
    expect(await one(sql`select status from flux.run_partitions where run_id = ${runId} and partition_no = 1`)).toEqual(
      { status: 'CANCELLED' },
    );
  });
});

/** Asks the database again and again, each question being the wait. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await holds())) if (performance.now() > deadline) throw new Error('waited 20 s in vain');
}
