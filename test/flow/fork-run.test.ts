import { randomUUID } from 'node:crypto';

import { beforeAll, describe, expect, it } from 'vitest';

import { ident, sql } from '../../src/db/sql.ts';
import { forkRun } from '../../src/domain/fork-run.ts';
import { startRun } from '../../src/domain/start-run.ts';
import { rerunRun } from '../../src/domain/rerun-run.ts';
import { FluxError } from '../../src/errors.ts';
import { contextOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine, type FakeSource } from '../support/fake-engine.ts';
import { readRun } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const agency = 'nasa';

beforeAll(() => database.addAgency(agency));

const values = [0, 1, 'bad', 3, 4, 5, 6, 7, 8, 'drop', 10, 11] as const;
const good = values.filter((value) => typeof value === 'number');
const source: FakeSource = { values, partitions: 2, batchRecords: 2 };
const ctx = () => contextOf(database, agency);
const rerun = (runId: string, pipeline: 'PINNED' | 'CURRENT' | null = null) =>
  rerunRun(ctx().api, ctx(), { runId, pipeline, reason: null, idempotencyKey: null });
const fork = (checkpointId: string, more: { key?: string; reason?: string; pipeline?: 'CURRENT' } = {}) =>
  forkRun(ctx().api, ctx(), {
    checkpointId,
    pipeline: more.pipeline ?? null,
    reason: more.reason ?? 'try again',
    idempotencyKey: more.key ?? null,
  });

async function queue(name: string, mode: 'append' | 'replace' | 'merge' = 'replace'): Promise<string> {
  await bench.addPipeline({ agency, name, dataset: name, mode, ...(mode === 'merge' ? { key: ['id'] } : {}) });
  return bench.queueRun(agency, name);
}
const drain = async (more: Partial<FakeSource> = {}) =>
  bench.drain(await bench.deps(fakeEngine({ ...source, ...more })));
const breaksAt = (partition: number, batch: number): Partial<FakeSource> => ({
  beforeBatch: (at) => {
    if (at.partition === partition && at.batch === batch) throw new FluxError('TRANSFORM_FAILED', 'broken on purpose');
  },
});
async function checkpoint(runId: string, partition: number, version: number): Promise<string> {
  const { rows } = await database.admin().query<{ id: string }>(sql`
    select checkpoint_id as id from flux.checkpoints
    where run_id = ${runId} and partition_no = ${partition} and version = ${version}
  `);
  return (rows[0] as { id: string }).id;
}
async function valuesIn(dataset: string): Promise<number[]> {
  const { rows } = await database.agencyPool(agency, 'ro').query<{ value: bigint }>(sql`
    select value from ${ident('lake_nasa', dataset)} order by value
  `);
  return rows.map(({ value }) => Number(value));
}

describe('rerunning', () => {
  it('is a new run that does all of it again on the bytes that the first one pinned', async () => {
    const first = await queue('again');
    await drain();
    const run = await rerun(first);
    expect(run).toMatchObject({ status: 'PENDING', rerunOf: first, forkedFrom: null, pipelineVersion: 1, attempt: 1 });
    await drain({ beforePin: () => Promise.reject(new FluxError('SOURCE_INVALID', 'the source is gone')) });
    expect(await readRun(database, run.id)).toMatchObject({ status: 'COMPLETED', batches: 6 });
    expect((await readRun(database, first)).status).toBe('COMPLETED');
    expect(await valuesIn('again')).toEqual(good);
    const { rows } = await database.admin().query(sql`
      select count(distinct (sha256, address, origin))::int as objects, count(*)::int as pins
      from flux.source_objects where run_id in (${first}, ${run.id})
    `);
    expect(rows).toEqual([{ objects: 1, pins: 2 }]);
  });

  it('pins the source itself when the first run never did, and takes the version that is asked for', async () => {
    const first = await queue('unpinned');
    await drain({ beforePin: () => Promise.reject(new FluxError('SOURCE_INVALID', 'not there yet')) });
    await database.admin().query(sql`
      insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, contract_name,
        contract_version, connection_name, definition, sha256, created_by)
      select agency_id, name, 2, title, content_type, use_case, classification, contract_name, contract_version,
        connection_name, definition, sha256, created_by
      from flux.pipelines where name = 'unpinned'
    `);
    expect(await rerun(first)).toMatchObject({ pipelineVersion: 1 });
    expect(await rerun(first, 'CURRENT')).toMatchObject({ pipelineVersion: 2 });
    await drain();
    expect(await valuesIn('unpinned')).toEqual(good);
  });

  it('refuses an unknown run and a pipeline that is not enabled any more', async () => {
    await expect(rerun(randomUUID())).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const first = await queue('retired');
    await drain();
    await database.admin().query(sql`update flux.pipelines set enabled = false where name = 'retired'`);
    await expect(rerun(first)).rejects.toMatchObject({ code: 'PIPELINE_NOT_FOUND' });
  });
});

describe('forking', () => {
  it('is what a payload with a checkpoint_id means, which says nothing else than the first run', async () => {
    const first = await queue('paid');
    await drain(breaksAt(2, 2));
    const id = await checkpoint(first, 2, 1);
    const start = (more: Record<string, unknown> = {}, reason: string | null = 'from here') =>
      startRun(ctx().api, ctx(), {
        pipeline: null,
        payload: { agency, content_type: 'text', use_case: 'research', checkpoint_id: id, ...more },
        ...{ stage: null, dryRun: null, metadata: null, reason, idempotencyKey: null },
      });
    const run = await start();
    expect(run).toMatchObject({ forkedFrom: first, forkedPartition: 2, forkedVersion: 1, pipelineName: 'paid' });
    expect(run.payload).toMatchObject({ checkpoint_id: id });
    await drain();
    expect(await readRun(database, run.id)).toMatchObject({ status: 'COMPLETED', batches: 4 });
    expect(await valuesIn('paid')).toEqual(good);
    for (const [more, field] of [
      [{ use_case: 'analytics' }, /use_case/],
      [{ metadata: { pipeline: 'forked' } }, /metadata\.pipeline/],
      [{ stage: 'ingest' }, /stage/],
      [{ dry_run: true }, /dry_run/],
      [{ source: 'elsewhere/list' }, /source/],
    ] as const) {
      await expect(start(more)).rejects.toMatchObject({
        code: 'INVALID_INPUT',
        message: expect.stringMatching(field) as string,
      });
    }
    await expect(start({}, null)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(start({ agency: 'noaa' })).rejects.toMatchObject({ code: 'DATA_ISOLATION' });
    for (const unknown of ['x', randomUUID()]) {
      await expect(start({ checkpoint_id: unknown })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    }
  });

  it('takes a newer version of the pipeline that does the same, and no other', async () => {
    const first = await queue('versions');
    await drain(breaksAt(2, 2));
    const id = await checkpoint(first, 2, 1);
    const register = (change: Record<string, unknown>) =>
      database.admin().query(sql`
        insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, contract_name,
          contract_version, connection_name, definition, sha256, created_by)
        select agency_id, name, version + 1, title, content_type, use_case, classification, contract_name, contract_version,
          connection_name, (definition::jsonb || ${JSON.stringify(change)}::jsonb)::text, sha256, created_by
        from flux.pipelines where name = 'versions' order by version desc limit 1
      `);
    await register({ title: 'A better title', batch: { records: 3 } });
    expect(await fork(id)).toMatchObject({ pipelineVersion: 1 });
    const run = await fork(id, { pipeline: 'CURRENT' });
    expect(run).toMatchObject({ pipelineVersion: 2, forkedFrom: first });
    await drain();
    expect(await readRun(database, run.id)).toMatchObject({ status: 'COMPLETED', batches: 4 });
    expect(await valuesIn('versions')).toEqual(good);
    await register({ transforms: [{ type: 'filter', where: 'value > 1' }] });
    await expect(fork(id, { pipeline: 'CURRENT' })).rejects.toMatchObject({ code: 'CHECKPOINT_INCOMPATIBLE' });
    expect(await fork(id)).toMatchObject({ pipelineVersion: 1 });
    await drain();
  });

  it('goes on from a checkpoint of a failed run, takes over what was committed, and leaves the first run as it is', async () => {
    const first = await queue('forked');
    await drain(breaksAt(2, 2));
    const before = await readRun(database, first);
    const run = await fork(await checkpoint(first, 2, 1));
    expect(run).toMatchObject({ status: 'PENDING', forkedFrom: first, forkedPartition: 2, forkedVersion: 1 });
    await drain({ beforePin: () => Promise.reject(new FluxError('SOURCE_INVALID', 'must not be pinned again')) });
    const after = await readRun(database, run.id);
    expect(after).toMatchObject({ status: 'COMPLETED', batches: 4 });
    const batches = after.events.filter(({ name }) => name === 'BatchCommitted').map(({ data }) => data);
    expect(batches.slice(0, 2)).toMatchObject([
      { partition: 1, batch: 1, read: 6, rejected: 1, last: true, takenOverFrom: { run: first, version: 3 } },
      { partition: 2, batch: 1, read: 2, written: 2, last: false, takenOverFrom: { run: first, version: 1 } },
    ]);
    expect(await valuesIn('forked')).toEqual(good);
    expect(await readRun(database, first)).toEqual(before);
    const { rows } = await database.admin().query(sql`
      select record_no::int as n from flux.rejected_records where run_id = ${run.id}
    `);
    expect(rows).toEqual([{ n: 3 }]);
  });

  it('begins with an earlier checkpoint what came after it, in every partition', async () => {
    const first = await queue('earlier', 'append');
    await drain();
    const run = await fork(await checkpoint(first, 1, 2));
    await drain();
    const after = await readRun(database, run.id);
    expect(after.status).toBe('COMPLETED');
    const taken = after.events.filter(({ data }) => data['takenOverFrom'] !== undefined);
    expect(taken.map(({ data }) => [data['partition'], data['read']])).toEqual([[1, 4]]);
    expect(after.batches).toBe(5);
    expect(await valuesIn('earlier')).toEqual([...good, ...good].sort((a, b) => a - b));
  });

  it('forks a fork', async () => {
    const first = await queue('chain');
    await drain(breaksAt(2, 2));
    const second = await fork(await checkpoint(first, 1, 3));
    await drain(breaksAt(2, 3));
    const third = await fork(await checkpoint(second.id, 1, 1));
    await drain();
    expect(await readRun(database, third.id)).toMatchObject({ status: 'COMPLETED' });
    expect(await valuesIn('chain')).toEqual(good);
  });

  it('only publishes when nothing else is left', async () => {
    const first = await queue('publishes', 'append');
    await drain();
    const run = await fork(await checkpoint(first, 2, 3));
    expect(await drain()).toEqual(['completed', 'completed']);
    expect(await readRun(database, run.id)).toMatchObject({ status: 'COMPLETED', batches: 2 });
  });

  it('refuses a checkpoint that does not verify, one whose records were replaced, and none at all', async () => {
    await expect(fork(randomUUID())).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const first = await queue('refused');
    await drain();
    const id = await checkpoint(first, 1, 1);
    await expect(fork(id, { reason: '' })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await rerun(first);
    await drain();
    await expect(fork(id)).rejects.toMatchObject({ code: 'CHECKPOINT_MISSING' });
    await database.admin().query(sql`update flux.checkpoints set body = body || '\x20' where checkpoint_id = ${id}`);
    await expect(fork(id)).rejects.toMatchObject({ code: 'CHECKPOINT_CORRUPTED' });
    const merged = await queue('merged', 'merge');
    await drain();
    await expect(fork(await checkpoint(merged, 1, 1))).rejects.toMatchObject({ code: 'CHECKPOINT_MISSING' });
  });

  it('fails by name when the records went between the request and the plan', async () => {
    const first = await queue('vanished');
    await drain(breaksAt(2, 2));
    const run = await fork(await checkpoint(first, 2, 1));
    await database.admin().query(sql`delete from lake_nasa.vanished__l1`);
    await drain();
    const { events, status } = await readRun(database, run.id);
    expect(status).toBe('FAILED');
    expect(events.at(-1)).toMatchObject({ name: 'RunFailed', data: { code: 'CHECKPOINT_MISSING' } });
  });
});
