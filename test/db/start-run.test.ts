import { randomUUID } from 'node:crypto';

import { beforeAll, describe, expect, it } from 'vitest';

import type { Context } from '../../resolvers/context.ts';
import { claimPartition } from '../../src/db/queue.ts';
import { sql } from '../../src/db/sql.ts';
import type { StartRun } from '../../src/domain/start-run.ts';
import { apiDeps, auditOf, contextOf, countRows, pipelineDocument } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { agencyWith, start } from '../support/started-runs.ts';

const database = useDatabase();

describe('starting a run', () => {
  let nasa: Context;
  beforeAll(async () => {
    nasa = await agencyWith(
      database,
      'nasa',
      pipelineDocument('temperatures'),
      pipelineDocument('images', { contentType: 'images' }),
    );
  });

  it('queues the run, its plan, its first event and the audit entry in one go', async () => {
    const run = await start(nasa, {
      pipeline: 'temperatures',
      reason: 'quarterly report',
      metadata: { ticket: 'A-1' },
    });
    expect(run).toMatchObject({
      agency: 'nasa',
      pipelineName: 'temperatures',
      pipelineVersion: 1,
      status: 'PENDING',
      stage: 'FULL',
      lastSeq: 1n,
      requestedBy: 'pat@example.gov',
      reason: 'quarterly report',
      payload: {
        agency: 'nasa',
        content_type: 'text',
        use_case: 'research',
        stage: 'full',
        source: null,
        checkpoint_id: null,
        dry_run: false,
        metadata: { ticket: 'A-1', pipeline: 'temperatures' },
      },
    });
    const { rows } = await database.admin().query(sql`
      select p.partition_no, p.kind, p.status, e.seq::int, e.name, e.attempt
      from flux.run_partitions p
      join flux.run_events e using (agency_id, run_id)
      where run_id = ${run.id}
    `);
    expect(rows).toEqual([
      { partition_no: 0, kind: 'PLAN', status: 'AVAILABLE', seq: 1, name: 'RunQueued', attempt: 1 },
    ]);
    const entry = (await auditOf(database, 'nasa')).find(({ resource_id }) => resource_id === run.id);
    expect(entry).toMatchObject({
      action: 'run.start',
      success: true,
      actor: 'pat@example.gov',
      body: { reason: 'quarterly report', ip: '192.0.2.1' },
    });
  });

  it('resolves a bare payload to the only enabled pipeline of its content type and use case', async () => {
    const run = await start(nasa, {
      payload: { agency: 'nasa', content_type: 'images', use_case: 'research', source: 'other.csv' },
    });
    expect(run).toMatchObject({ pipelineName: 'images', contentType: 'images', payload: { source: 'other.csv' } });
  });

  it('takes the pipeline that the payload’s metadata names', async () => {
    const payload = {
      agency: 'nasa',
      content_type: 'text',
      use_case: 'research',
      metadata: { pipeline: 'temperatures' },
    };
    expect((await start(nasa, { payload })).pipelineName).toBe('temperatures');
  });

  it('puts a run with priority in front of the agency’s others, and refuses what is no priority', async () => {
    const ctx = await agencyWith(database, 'urgent', pipelineDocument('temperatures'));
    const low = await start(ctx, { pipeline: 'temperatures', priority: 90 });
    const high = await start(ctx, { pipeline: 'temperatures', priority: 100 });
    expect([low.priority, high.priority]).toEqual([90, 100]);
    // Other agencies take turns with it; within the agency the priority decides.
    let claim = await claimPartition(database.workerPool(), { id: 'test', leaseMs: 60_000 });
    while (claim && claim.agencyId !== high.agency) {
      claim = await claimPartition(database.workerPool(), { id: 'test', leaseMs: 60_000 });
    }
    expect(claim?.runId).toBe(high.id);
    for (const priority of [101, -101, 1.5]) {
      await expect(start(ctx, { pipeline: 'temperatures', priority })).rejects.toMatchObject({
        code: 'INVALID_INPUT',
        message: /-100 to 100/,
      });
    }
  });

  it('starts nothing twice under one idempotency key, also when both requests come at once', async () => {
    const before = await countRows(database, 'nasa', 'runs');
    const idempotencyKey = randomUUID();
    const runs = await Promise.all([1, 2, 3].map(() => start(nasa, { pipeline: 'temperatures', idempotencyKey })));
    expect(new Set(runs.map(({ id }) => id)).size).toBe(1);
    expect(await countRows(database, 'nasa', 'runs')).toBe(before + 1);
    expect((await auditOf(database, 'nasa')).filter(({ resource_id }) => resource_id === runs[0]?.id)).toHaveLength(1);
    await expect(start(nasa, { pipeline: 'images', idempotencyKey })).rejects.toMatchObject({
      code: 'IDEMPOTENCY_CONFLICT',
    });
  });

  it('takes an idempotency key anew after its week is over', async () => {
    const idempotencyKey = randomUUID();
    const first = await start(nasa, { pipeline: 'temperatures', idempotencyKey });
    await database
      .admin()
      .query(sql`update flux.idempotency_keys set expires_at = now() where key = ${idempotencyKey}`);
    const second = await start(nasa, { pipeline: 'images', idempotencyKey });
    expect(second.id).not.toBe(first.id);
    expect((await start(nasa, { pipeline: 'images', idempotencyKey })).id).toBe(second.id);
  });

  it.each<[string, Partial<StartRun>, string, RegExp]>([
    ['an unknown pipeline', { pipeline: 'nope' }, 'PIPELINE_NOT_FOUND', /temperatures \(text, research\)/],
    ['neither pipeline nor payload', {}, 'INVALID_INPUT', /exactly one/],
    ['pipeline and payload', { pipeline: 'temperatures', payload: {} }, 'INVALID_INPUT', /exactly one/],
    ['a payload that is a list', { payload: [] }, 'INVALID_INPUT', /payload must be a JSON object/],
    [
      'another agency',
      { payload: { agency: 'noaa', content_type: 'text', use_case: 'research' } },
      'DATA_ISOLATION',
      /not yours/,
    ],
    ['an agency that does not exist', { payload: { agency: 'nowhere' } }, 'DATA_ISOLATION', /not yours/],
    [
      'a use case that does not exist',
      { payload: { agency: 'nasa', content_type: 'text', use_case: 'fun' } },
      'INVALID_INPUT',
      /use_case/,
    ],
    [
      'a stage that does not exist',
      { payload: { agency: 'nasa', content_type: 'text', use_case: 'research', stage: 'all' } },
      'INVALID_INPUT',
      /stage/,
    ],
    ['a stage without the one before', { pipeline: 'temperatures', stage: 'EXPORT' }, 'STAGE_INPUT_MISSING', /INGEST/],
    [
      'two stages',
      { payload: { agency: 'nasa', content_type: 'text', use_case: 'research', stage: 'full' }, stage: 'INGEST' },
      'INVALID_INPUT',
      /one stage/,
    ],
    [
      'a source outside the connection',
      { payload: { agency: 'nasa', content_type: 'text', use_case: 'research', source: '../x' } },
      'INVALID_INPUT',
      /relative/,
    ],
    [
      'a purpose that no pipeline has',
      { payload: { agency: 'nasa', content_type: 'mixed', use_case: 'vr' } },
      'PIPELINE_NOT_FOUND',
      /content type mixed/,
    ],
    [
      'a purpose that the named pipeline has not',
      {
        payload: {
          agency: 'nasa',
          content_type: 'images',
          use_case: 'research',
          metadata: { pipeline: 'temperatures' },
        },
      },
      'INVALID_INPUT',
      /Make them agree/,
    ],
    ['two pipelines', { pipeline: 'temperatures', metadata: { pipeline: 'images' } }, 'INVALID_INPUT', /two pipelines/],
    ['notes that are no object', { pipeline: 'temperatures', metadata: 'x' }, 'INVALID_INPUT', /metadata must be/],
    ['notes with a NUL character', { pipeline: 'temperatures', metadata: { a: '\0' } }, 'INVALID_INPUT', /NUL/],
    ['half a character', { pipeline: 'temperatures', metadata: { a: '\ud800' } }, 'INVALID_INPUT', /./],
    ['an idempotency key without text', { pipeline: 'temperatures', idempotencyKey: '' }, 'INVALID_INPUT', /1 to 255/],
    ['a reason without end', { pipeline: 'temperatures', reason: 'x'.repeat(2_001) }, 'INVALID_INPUT', /at most 2000/],
  ])('refuses %s, leaves nothing behind and records the refusal', async (_what, input, code, message) => {
    const before = await Promise.all(
      (['runs', 'run_partitions', 'run_events'] as const).map((table) => countRows(database, 'nasa', table)),
    );
    const audited = (await auditOf(database, 'nasa')).length;
    await expect(start(nasa, input)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
    const after = await Promise.all(
      (['runs', 'run_partitions', 'run_events'] as const).map((table) => countRows(database, 'nasa', table)),
    );
    expect(after).toEqual(before);
    const entries = (await auditOf(database, 'nasa')).slice(audited);
    expect(entries).toMatchObject([{ action: 'run.start', success: false, error_code: code }]);
  });

  it('gives a foreign and an invented agency the same answer', async () => {
    await database.addAgency('noaa');
    const refusal = async (agency: string): Promise<string> =>
      start(nasa, { payload: { agency } }).then(
        () => 'none',
        (error: Error) => error.message,
      );
    expect(await refusal('noaa')).toBe(await refusal('no-such-agency'));
  });

  it('lists the candidates where several pipelines fit', async () => {
    const usgs = await agencyWith(database, 'usgs', pipelineDocument('a-one'), pipelineDocument('b-two'));
    const payload = { agency: 'usgs', content_type: 'text', use_case: 'research' };
    await expect(start(usgs, { payload })).rejects.toMatchObject({
      code: 'AMBIGUOUS_PIPELINE',
      details: { candidates: ['a-one', 'b-two'] },
    });
  });

  it('sees no pipeline above the caller’s clearance', async () => {
    const nga = await agencyWith(database, 'nga', pipelineDocument('secret', { classification: 'S' }));
    await expect(start(nga, { pipeline: 'secret' })).rejects.toMatchObject({
      code: 'PIPELINE_NOT_FOUND',
      details: { candidates: [] },
    });
    const cleared = contextOf(database, 'nga', { clearance: 3 });
    expect(await start(cleared, { pipeline: 'secret' })).toMatchObject({ classification: 3 });
  });

  it('starts nothing for an agency or a pipeline that is not enabled', async () => {
    const bls = await agencyWith(database, 'bls', pipelineDocument('jobs'));
    await database.admin().query(sql`update flux.pipelines set enabled = false where agency_id = 'bls'`);
    await expect(start(bls, { pipeline: 'jobs' })).rejects.toMatchObject({
      code: 'PIPELINE_NOT_FOUND',
      message: expect.stringMatching(/not enabled/) as string,
    });
    await database.admin().query(sql`update flux.agencies set enabled = false where agency_id = 'bls'`);
    await expect(start(bls, { pipeline: 'jobs' })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(/not enabled/) as string,
    });
  });

  it('starts the run all the same when nobody can be woken', async () => {
    const warnings: string[] = [];
    const pool = database.apiPool();
    const api = apiDeps(database, {
      pool: { ...pool, withConnection: pool.withConnection, query: () => Promise.reject(new Error('gone')) },
      logger: { info: () => undefined, warn: (_fields, message) => warnings.push(message) },
    });
    const ctx = contextOf(database, 'nasa', { api });
    expect((await start(ctx, { pipeline: 'temperatures' })).status).toBe('PENDING');
    await expect
      .poll(() => warnings, { timeout: 30_000 })
      .toEqual([expect.stringMatching(/find the run by their poll/)]);
  });
});
