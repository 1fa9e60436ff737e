import { randomUUID } from 'node:crypto';

import { beforeAll, describe, expect, it } from 'vitest';

import { run as findRunOf } from '../../resolvers/run.ts';
import { resumePlanOf } from '../../resolvers/run-control.ts';
import { canonicalBytes } from '../../src/canonical-json.ts';
import type { Run } from '../../src/db/runs.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { cancelRun } from '../../src/domain/cancel-run.ts';
import { resumeRun } from '../../src/domain/resume-run.ts';
import { FluxError } from '../../src/errors.ts';
import { follow, type RunEventItem } from '../../src/events/follow.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { apiDeps, auditOf, contextOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const agency = 'nasa';

beforeAll(() => database.addAgency(agency));

const values = Array.from({ length: 12 }, (_, i) => i);
const source: FakeSource = { values, partitions: 3, batchRecords: 2 };
const ctx = () => contextOf(database, agency);
const resume = (runId: string, more: { key?: string; reason?: string } = {}): Promise<Run> =>
  resumeRun(ctx().api, ctx(), { runId, reason: more.reason ?? 'repaired', idempotencyKey: more.key ?? null });
const cancel = (runId: string): Promise<Run> =>
  cancelRun(ctx().api, ctx(), { runId, reason: 'enough', idempotencyKey: null, graceSeconds: null });
const planOf = async (runId: string) => resumePlanOf(ctx(), (await findRunOf(ctx(), runId)) as Run);

async function queue(name: string): Promise<string> {
  await bench.addPipeline({ agency, name, dataset: name });
  return bench.queueRun(agency, name);
}
/** Fails for good before a batch of a partition. */
const breaksAt = (partition: number, batch: number): FakeSource => ({
  ...source,
  beforeBatch: (at) => {
    if (at.partition === partition && at.batch === batch) throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
  },
});
async function valuesIn(dataset: string): Promise<number[]> {
  const { rows } = await database.agencyPool(agency, 'ro').query<{ value: bigint }>(sql`
    select value from ${ident('lake_nasa', dataset)} order by value
  `);
  return rows.map(({ value }) => Number(value));
}

describe('resuming a run that failed', () => {
  it('keeps what was completed, goes on from the checkpoints, and ends with each record once', async () => {
    const runId = await queue('failed');
    await bench.drain(await bench.deps(fakeEngine(breaksAt(2, 2))));
    expect(await readRun(database, runId)).toMatchObject({ status: 'FAILED', attempt: 1, batches: 3 });

    const plan = await planOf(runId);
    expect(plan).toMatchObject({ attempt: 2, forbiddenBy: null });
    expect(
      plan.partitions.map(({ disposition, checkpointVersion, recordsKept }) => [
        disposition,
        checkpointVersion,
        Number(recordsKept),
      ]),
    ).toEqual([
      ['KEPT', null, 0],
      ['KEPT', null, 4],
      ['CONTINUED', 1, 2],
      ['NEVER_STARTED', null, 0],
    ]);

    const run = await resume(runId);
    expect(run).toMatchObject({ status: 'PENDING', attempt: 2, failure: null, finishedAt: null });
    expect(await bench.drain(await bench.deps(fakeEngine(source)))).toEqual(['completed', 'completed', 'completed']);

    const { status, attempt, events } = await readRun(database, runId);
    expect({ status, attempt }).toEqual({ status: 'COMPLETED', attempt: 2 });
    expect(events.map(({ seq }) => Number(seq))).toEqual(events.map((_, i) => i + 1));
    const names = events.map(({ name }) => name);
    expect(names.filter((name) => name === 'RunStarted' || name === 'PlanMade')).toHaveLength(2);
    expect(names.filter((name) => name === 'BatchCommitted')).toHaveLength(6);
    expect(names[names.indexOf('RunFailed') + 1]).toBe('RunResumed');
    expect(events.find(({ name }) => name === 'RunResumed')).toMatchObject({
      attempt: 2,
      data: {
        attempt: 2,
        KEPT: 2,
        CONTINUED: 1,
        REDONE: 0,
        NEVER_STARTED: 1,
        goesOnFrom: [{ partition: 2, version: 1 }],
      },
    });
    expect(await valuesIn('failed')).toEqual(values);
    const audit = (await auditOf(database, agency)).find(({ action }) => action === 'run.resume');
    expect(audit?.body).toMatchObject({
      reason: 'repaired',
      before: { status: 'FAILED', attempt: 1, failure: { code: 'TRANSFORM_FAILED' } },
      after: { status: 'PENDING', attempt: 2 },
    });
  });

  it('begins with the plan when that is what failed', async () => {
    const runId = await queue('unplanned');
    const broken = fakeEngine({ ...source, beforePin: () => Promise.reject(new FluxError('SOURCE_INVALID', 'empty')) });
    await bench.drain(await bench.deps(broken));
    expect((await planOf(runId)).partitions).toMatchObject([{ kind: 'PLAN', disposition: 'REDONE' }]);
    await resume(runId);
    await bench.drain(await bench.deps(fakeEngine(source)));
    expect(await readRun(database, runId)).toMatchObject({ status: 'COMPLETED', attempt: 2 });
    expect(await valuesIn('unplanned')).toEqual(values);
  });

  it('gives a poisoned partition its takings back', async () => {
    const runId = await queue('poisoned');
    const flaky = fakeEngine({
      ...source,
      beforePin: () => Promise.reject(new FluxError('SOURCE_UNAVAILABLE', 'away')),
    });
    const deps = await bench.deps(flaky);
    while ((await readRun(database, runId)).status !== 'FAILED') {
      await bench.drain(deps);
      await database.admin().query(sql`
        update flux.run_partitions set available_at = clock_timestamp() where run_id = ${runId}
      `);
    }
    await resume(runId);
    await bench.drain(await bench.deps(fakeEngine(source)));
    expect(await readRun(database, runId)).toMatchObject({ status: 'COMPLETED', attempt: 2 });
  });
});

describe('resuming a run that was cancelled', () => {
  it('goes on, however often', async () => {
    const runId = await queue('cancelled');
    for (const batch of [1, 2]) {
      const engine = fakeEngine({
        ...source,
        beforeBatch: async (at) => {
          if (at.partition === batch && at.batch === 2) await cancel(runId);
        },
      });
      await bench.drain(await bench.deps(engine));
      expect((await readRun(database, runId)).status).toBe('CANCELLED');
      expect(await resume(runId)).toMatchObject({ status: 'PENDING', cancelDeadline: null });
    }
    await bench.drain(await bench.deps(fakeEngine(source)));
    expect(await readRun(database, runId)).toMatchObject({ status: 'COMPLETED', attempt: 3, batches: 6 });
    expect(await valuesIn('cancelled')).toEqual(values);
  });

  it('starts a run that was cancelled before it began', async () => {
    const runId = await queue('unbegun');
    await cancel(runId);
    await resume(runId);
    await bench.drain(await bench.deps(fakeEngine(source)));
    const { events, status } = await readRun(database, runId);
    expect(status).toBe('COMPLETED');
    expect(events.find(({ name }) => name === 'RunStarted')).toMatchObject({ attempt: 2 });
  });

  it('lets several workers take its partitions at once', async () => {
    const runId = await queue('together');
    const deps = await bench.deps(fakeEngine(source));
    await executePartition(deps, await bench.claim(), new AbortController().signal);
    await cancel(runId);
    await resume(runId);
    const takings = [];
    for (const id of ['one', 'two', 'three'])
      takings.push({ deps: await bench.deps(fakeEngine(source), { id }), claim: await bench.claim(id) });
    const outcomes = await Promise.all(
      takings.map((taking) => executePartition(taking.deps, taking.claim, new AbortController().signal)),
    );
    expect(outcomes).toEqual(['completed', 'completed', 'completed']);
    await bench.drain(deps);
    expect(await readRun(database, runId)).toMatchObject({ status: 'COMPLETED' });
    expect(await valuesIn('together')).toEqual(values);
  });
});

describe('what forbids a resume', () => {
  it('is said for a run that completed, one that is queued and one that is stopping', async () => {
    const done = await queue('done');
    await bench.drain(await bench.deps(fakeEngine(source)));
    await expect(resume(done)).rejects.toMatchObject({ code: 'INVALID_TRANSITION', message: /rerun/ });
    expect((await planOf(done)).forbiddenBy).toMatchObject({ code: 'INVALID_TRANSITION' });

    const waiting = await queue('stillwaiting');
    await expect(resume(waiting)).rejects.toMatchObject({ code: 'INVALID_TRANSITION' });
    await executePartition(
      await bench.deps(fakeEngine({ ...source, partitions: 1 })),
      await bench.claim(),
      new AbortController().signal,
    );
    await bench.claim('slow', 60_000);
    await cancel(waiting);
    await expect(resume(waiting)).rejects.toMatchObject({ code: 'INVALID_TRANSITION', message: /stopping/ });
    expect((await readRun(database, waiting)).status).toBe('CANCELLING');
  });

  it('is a checkpoint of another pipeline version, which the plan says beforehand', async () => {
    const runId = await queue('incompatible');
    await bench.drain(await bench.deps(fakeEngine(breaksAt(1, 2))));
    await rewriteCheckpoint(runId, (body) => ({ ...body, pipeline: { name: 'incompatible', version: 7 } }));
    expect((await planOf(runId)).forbiddenBy).toMatchObject({ code: 'CHECKPOINT_INCOMPATIBLE', message: /version|7/ });
    await expect(resume(runId)).rejects.toMatchObject({ code: 'CHECKPOINT_INCOMPATIBLE' });
    expect(await readRun(database, runId)).toMatchObject({ status: 'FAILED', attempt: 1 });
  });

  it('is a checkpoint of other code', async () => {
    const runId = await queue('othercode');
    await bench.drain(await bench.deps(fakeEngine(breaksAt(1, 2))));
    await rewriteCheckpoint(runId, (body) => ({ ...body, format: 1 }));
    expect((await planOf(runId)).forbiddenBy).toMatchObject({ code: 'CHECKPOINT_INCOMPATIBLE', message: /format 1/ });
    await expect(resume(runId)).rejects.toMatchObject({ code: 'CHECKPOINT_INCOMPATIBLE' });
  });

  it('is a partition of which no checkpoint verifies, never told as one that has none', async () => {
    const runId = await queue('corrupted');
    await bench.drain(await bench.deps(fakeEngine(breaksAt(1, 2))));
    await database.admin().query(sql`update flux.checkpoints set body = body || '\x20' where run_id = ${runId}`);
    const plan = await planOf(runId);
    expect(plan.forbiddenBy).toMatchObject({ code: 'CHECKPOINT_CORRUPTED' });
    expect(plan.partitions[1]).toMatchObject({ corruptedVersions: [1] });
    await expect(resume(runId)).rejects.toMatchObject({ code: 'CHECKPOINT_CORRUPTED' });
  });

  it('is a missing reason; and the same key resumes once', async () => {
    const runId = await queue('keyed');
    await cancel(runId);
    await expect(resume(runId, { reason: '' })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    const key = randomUUID();
    await resume(runId, { key });
    expect(await resume(runId, { key })).toMatchObject({ attempt: 2 });
    expect((await readRun(database, runId)).events.filter(({ name }) => name === 'RunResumed')).toHaveLength(1);
    await cancel(runId);
  });
});

describe('following a run that is resumed', () => {
  const items = async (runId: string, afterSeq: bigint): Promise<RunEventItem[]> => {
    const found: RunEventItem[] = [];
    const request = { sealed: () => database.tenant(agency), runId, afterSeq, signal: new AbortController().signal };
    for await (const item of follow(apiDeps(database), request)) found.push(item);
    return found;
  };

  it('ends with the attempt, and the same cursor goes on; a replay passes the old ending', async () => {
    const runId = await queue('followed');
    await bench.drain(await bench.deps(fakeEngine(breaksAt(1, 1))));
    const first = await items(runId, 0n);
    const end = first.at(-1) as Extract<RunEventItem, { kind: 'end' }>;
    expect(end).toMatchObject({ kind: 'end', status: 'FAILED', attempt: 1 });
    expect(await items(runId, end.lastSeq)).toEqual([end]);

    await resume(runId);
    await bench.drain(await bench.deps(fakeEngine(source)));
    const second = await items(runId, end.lastSeq);
    expect(second[0]).toMatchObject({ name: 'RunResumed', seq: end.lastSeq + 1n, attempt: 2 });
    expect(second.at(-1)).toMatchObject({ kind: 'end', status: 'COMPLETED', attempt: 2 });
    expect(await items(runId, 0n)).toEqual([...first.slice(0, -1), ...second]);
  });
});

/** Rewrites a run's only checkpoint so that it verifies: what another version of the code would have saved. */
async function rewriteCheckpoint(
  runId: string,
  change: (body: Record<string, unknown>) => Record<string, unknown>,
): Promise<void> {
  const { rows } = await database.admin().query<{ body: Buffer }>(sql`
    select body from flux.checkpoints where run_id = ${runId}
  `);
  const body = canonicalBytes(
    change(JSON.parse((rows[0] as { body: Buffer }).body.toString()) as Record<string, unknown>),
  );
  await database.admin().query(sql`
    update flux.checkpoints set body = ${body}, hash = sha256(${body}) where run_id = ${runId}
  `);
  await database.admin().query(sql`alter table flux.run_events disable trigger append_only`);
  await database.admin().query(sql`
    update flux.run_events set data = jsonb_set(data, '{hash}', to_jsonb(encode(sha256(${body}), 'hex')))
    where run_id = ${runId} and name = 'CheckpointSaved'
  `);
  await database.admin().query(sql`alter table flux.run_events enable trigger append_only`);
}
