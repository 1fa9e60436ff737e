import { randomUUID } from 'node:crypto';

import { beforeAll, describe, expect, it } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { cancelRun } from '../../src/domain/cancel-run.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { auditOf, contextOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine } from '../support/fake-engine.ts';
import { gate, readRun, until } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const agency = 'nasa';

beforeAll(() => database.addAgency(agency));

const values = Array.from({ length: 12 }, (_, i) => i);
const cancel = (runId: string, more: { graceSeconds?: number; key?: string; reason?: string | null } = {}) => {
  const ctx = contextOf(database, agency);
  return cancelRun(ctx.api, ctx, {
    runId,
    reason: more.reason === undefined ? 'wrong source' : more.reason,
    idempotencyKey: more.key ?? null,
    graceSeconds: more.graceSeconds ?? null,
  });
};
async function queue(name: string): Promise<string> {
  await bench.addPipeline({ agency, name, dataset: name });
  return bench.queueRun(agency, name);
}

describe('cancelling a run that nobody holds', () => {
  it('ends it at once, with the request and the ending in its history', async () => {
    const runId = await queue('waiting');
    const run = await cancel(runId);
    expect(run).toMatchObject({ status: 'CANCELLED', cancelDeadline: null, attempt: 1 });
    const { events, partitions } = await readRun(database, runId);
    expect(events.map(({ name }) => name)).toEqual(['RunQueued', 'CancelRequested', 'RunCancelled']);
    expect(events[1]?.data).toMatchObject({ by: 'pat@example.gov', reason: 'wrong source', waitingFor: [] });
    expect(partitions).toEqual([{ partition_no: 0, status: 'CANCELLED', epoch: 0 }]);
    const entries = (await auditOf(database, agency)).filter((entry) => entry.resource_id === runId);
    expect(entries).toMatchObject([
      { action: 'run.cancel', success: true, body: { reason: 'wrong source', before: { status: 'PENDING' } } },
    ]);
  });

  it('changes nothing when it is asked for again, with or without the same key', async () => {
    const runId = await queue('twice');
    const key = randomUUID();
    await cancel(runId, { key });
    const first = await readRun(database, runId);
    expect(await cancel(runId, { key })).toMatchObject({ status: 'CANCELLED' });
    expect(await cancel(runId)).toMatchObject({ status: 'CANCELLED' });
    expect((await readRun(database, runId)).events).toEqual(first.events);
    await expect(cancel(runId, { key, graceSeconds: 9 })).rejects.toMatchObject({ code: 'IDEMPOTENCY_CONFLICT' });
  });

  it('stops a worker that has claimed the plan and written nothing yet', async () => {
    const runId = await queue('claimed');
    const claim = await bench.claim();
    expect(await cancel(runId)).toMatchObject({ status: 'CANCELLED' });
    const outcome = await executePartition(
      await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 2 })),
      claim,
      new AbortController().signal,
    );
    expect(outcome).toBe('abandoned');
    expect((await readRun(database, runId)).events.at(-1)?.name).toBe('RunCancelled');
  });

  it('ends a run between two partitions at once', async () => {
    const runId = await queue('between');
    const deps = await bench.deps(fakeEngine({ values, partitions: 3, batchRecords: 2 }));
    await executePartition(deps, await bench.claim(), new AbortController().signal);
    expect(await cancel(runId)).toMatchObject({ status: 'CANCELLED' });
    const { events } = await readRun(database, runId);
    expect(events.find(({ name }) => name === 'CancelRequested')?.data).toMatchObject({ cancelledPartitions: 3 });
    expect(await bench.drain(deps)).toEqual([]);
  });
});

describe('cancelling a run that workers hold', () => {
  it('waits for every holder, names the deadline, and commits no batch after the request', async () => {
    const runId = await queue('held');
    const reached = gate();
    const release = gate();
    const engine = fakeEngine({
      values,
      partitions: 2,
      batchRecords: 2,
      async beforeBatch({ batch }) {
        if (batch !== 2) return;
        reached.open();
        await release.passed;
      },
    });
    const workers = await Promise.all([
      bench.start(engine, { id: 'one', times: { heartbeatMs: 60, pollMs: 20 } }),
      bench.start(engine, { id: 'two', times: { heartbeatMs: 60, pollMs: 20 } }),
    ]);
    await reached.passed;
    await until(async () => (await readRun(database, runId)).batches === 2);
    const asked = await cancel(runId);
    expect(asked.status).toBe('CANCELLING');
    expect((asked.cancelDeadline as Date).getTime() - Date.now()).toBeGreaterThan(20_000);
    release.open();
    await until(async () => (await readRun(database, runId)).status === 'CANCELLED');
    const { events, partitions } = await readRun(database, runId);
    const names = events.map(({ name }) => name);
    expect(names.slice(names.indexOf('CancelRequested'))).toEqual([
      'CancelRequested',
      'CancelAcknowledged',
      'CancelAcknowledged',
      'RunCancelled',
    ]);
    expect(events.filter(({ name }) => name === 'CancelAcknowledged').map(({ data }) => data)).toMatchObject([
      { epoch: 1, waitingFor: 1 },
      { epoch: 1, waitingFor: 0 },
    ]);
    expect(events.at(-1)?.data).toEqual({ forced: false });
    expect(partitions.map(({ status }) => status)).toEqual(['COMPLETED', 'CANCELLED', 'CANCELLED']);
    await Promise.all(workers.map((worker) => worker.stop({ graceMs: 5_000 })));
    const { rows } = await database.admin().query(sql`select count(*)::int as n from lake_nasa.held__l1`);
    expect(rows).toEqual([{ n: 4 }]);
  });

  it('drops the batch that was ready when the request came, and acknowledges', async () => {
    const runId = await queue('ready');
    const engine = fakeEngine({
      values,
      partitions: 1,
      batchRecords: 2,
      beforeBatch: async ({ batch }) => {
        if (batch === 3) await cancel(runId);
      },
    });
    const outcomes = await bench.drain(await bench.deps(engine));
    expect(outcomes).toEqual(['completed', 'cancelled']);
    const run = await readRun(database, runId);
    expect(run).toMatchObject({ status: 'CANCELLED', batches: 2 });
  });

  it('lets the next holder acknowledge for one that died', async () => {
    const runId = await queue('died');
    const deps = await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 2 }));
    await executePartition(deps, await bench.claim(), new AbortController().signal);
    await bench.claim('dead', 50);
    expect(await cancel(runId)).toMatchObject({ status: 'CANCELLING' });
    await database.admin().query(sql`select pg_sleep(0.06)`);
    expect(await bench.drain(deps)).toEqual(['cancelled']);
    const { events } = await readRun(database, runId);
    expect(events.slice(-2).map(({ name, data }) => [name, data['epoch']])).toEqual([
      ['CancelAcknowledged', 2],
      ['RunCancelled', undefined],
    ]);
  });

  it('is forced by any worker when a holder does not acknowledge in time, and the holder has lost', async () => {
    const runId = await queue('deaf');
    const reached = gate();
    const release = gate();
    const deaf = fakeEngine({
      values,
      partitions: 1,
      batchRecords: 2,
      async beforePin() {
        reached.open();
        await release.passed;
      },
    });
    const times = { heartbeatMs: 60, pollMs: 20 };
    await bench.start(deaf, { id: 'deaf', times });
    await reached.passed;
    await cancel(runId, { graceSeconds: 1 });
    await bench.start(fakeEngine({ values, partitions: 1, batchRecords: 2 }), { id: 'other', times });
    await until(async () => (await readRun(database, runId)).status === 'CANCELLED');
    release.open();
    const { events, partitions } = await readRun(database, runId);
    expect(events.at(-1)).toMatchObject({
      name: 'RunCancelled',
      data: { forced: true, unacknowledged: [{ partition: 0, epoch: 1 }] },
    });
    expect(partitions).toEqual([{ partition_no: 0, status: 'CANCELLED', epoch: 1 }]);
    expect((await auditOf(database, agency)).filter(({ action }) => action === 'run.cancel.force')).toHaveLength(1);
    await until(() => Promise.resolve(bench.log.some(({ fields }) => fields['outcome'] === 'abandoned')));
  });
});

describe('what cannot be cancelled', () => {
  it('says why for a run that is over', async () => {
    const runId = await queue('over');
    await bench.drain(await bench.deps(fakeEngine({ values, partitions: 1, batchRecords: 20 })));
    await expect(cancel(runId)).rejects.toMatchObject({
      code: 'INVALID_TRANSITION',
      message: `Run ${runId} has completed and its load is visible; there is nothing left to cancel.`,
    });
    const refused = (await auditOf(database, agency)).filter(({ error_code }) => error_code === 'INVALID_TRANSITION');
    expect(refused).toMatchObject([{ action: 'run.cancel', resource_id: runId, success: false }]);
  });

  it('asks for a reason, a fitting time and a run of one’s own', async () => {
    const runId = await queue('refused');
    await expect(cancel(runId, { reason: ' ' })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(cancel(runId, { graceSeconds: 0 })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(cancel(randomUUID())).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect((await readRun(database, runId)).status).toBe('PENDING');
  });
});

describe('the database itself', () => {
  it('refuses every change that the state machine does not have, also to those who may update', async () => {
    const runId = await queue('guarded');
    await cancel(runId);
    const update = (change: ReturnType<typeof sql>): Promise<unknown> =>
      database.admin().query(sql`update flux.runs set ${change} where run_id = ${runId}`);
    await expect(update(sql`last_seq = last_seq + 1`)).rejects.toMatchObject({ code: 'FX002' });
    await expect(update(sql`status = 'COMPLETED'`)).rejects.toMatchObject({ code: 'FX002' });
    await expect(update(sql`status = 'PENDING', finished_at = null`)).rejects.toMatchObject({ code: 'FX002' });
  });

  it('refuses a batch of a partition that has acknowledged', async () => {
    const runId = await queue('fenced');
    await cancel(runId);
    await expect(
      database.admin().query(sql`
        insert into flux.checkpoints (agency_id, run_id, partition_no, version, epoch, status, step, body, hash)
        values (${agency}, ${runId}, 0, 1, 1, 'IN_PROGRESS', 'write', '', sha256(''))
      `),
    ).rejects.toMatchObject({ code: 'FX002' });
  });
});
