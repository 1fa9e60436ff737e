import { randomUUID } from 'node:crypto';

import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import type { Context } from '../../resolvers/context.ts';
import type { Pool } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { ensureKeys } from '../../src/domain/manage-keys.ts';
import { registerPipeline } from '../../src/domain/register-pipeline.ts';
import { readPayload } from '../../src/domain/run-payload.ts';
import { localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { createKeyRing } from '../../src/keys/key-ring.ts';
import { apiDeps, auditOf, contextOf, countRows, pipelineDocument } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { agencyWith, start as startOne } from '../support/started-runs.ts';

const database = useDatabase();
const asked = { reason: null, idempotencyKey: null };
const start = (ctx: Context, input: Parameters<typeof startOne>[1] = {}): ReturnType<typeof startOne> =>
  startOne(ctx, { pipeline: 'rows', ...input });

/** What is sent over a pool: each statement by the first of flux that it names. */
function watched(pool: Pool, sent: string[]): Pool {
  return {
    ...pool,
    withConnection: (use, signal) =>
      pool.withConnection(
        (connection) =>
          use({
            ...connection,
            query(query) {
              sent.push(/flux\.\w+|set_config|begin|commit|rollback/.exec(query.strings.join(''))?.[0] ?? '');
              return connection.query<never>(query);
            },
          }),
        signal,
      ),
  };
}

/** What a start sends when all of it is known beforehand. */
const atOnce = [
  'begin',
  'set_config',
  'flux.require_pipelines',
  'flux.queue_runs',
  'flux.append_audit_batch',
  'commit',
];

/**
 * What an attempt gives that sent just this. A moment in which the machine stands still makes the process's clock look wrong, and then a start reads
 * first; after that it is tried less often.
 */
async function sentJust<T>(sent: string[], expected: readonly string[], attempt: () => Promise<T>): Promise<T> {
  for (let left = 20; ; left -= 1) {
    sent.length = 0;
    const value = await attempt();
    if (left === 0) expect(sent).toEqual(expected);
    if (sent.join() === expected.join()) return value;
  }
}

describe('a start of a pipeline that was started before', () => {
  const agency = 'nasa';
  let sent: string[];
  let ctx: Context;
  beforeAll(async () => {
    await agencyWith(database, agency, pipelineDocument('rows'), pipelineDocument('others'));
  });
  beforeEach(async () => {
    // A pool of its own knows nothing yet.
    ctx = contextOf(database, agency, { api: apiDeps(database, { pool: watched(database.apiPool(), (sent = [])) }) });
    await start(ctx);
    expect(sent).not.toEqual(atOnce);
    sent.length = 0;
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('is sent at once, and is as any other', async () => {
    let before = 0;
    const run = await sentJust(sent, atOnce, async () => {
      before = (await auditOf(database, agency)).length;
      return start(ctx, { metadata: { n: 1 }, reason: 'again' });
    });
    expect(run).toMatchObject({ status: 'PENDING', lastSeq: 1n, version: 2n, attempt: 1, reason: 'again' });
    expect(run.payload).toMatchObject({ metadata: { n: 1, pipeline: 'rows' } });
    const { rows } = await database.admin().query(sql`
      select e.name, e.seq, e.attempt, e.trace_id as trace, p.kind, p.status, p.partition_no as no
      from flux.run_events e join flux.run_partitions p using (agency_id, run_id)
      where run_id = ${run.id}
    `);
    expect(rows).toEqual([
      { name: 'RunQueued', seq: 1n, attempt: 1, trace: ctx.traceId, kind: 'PLAN', status: 'AVAILABLE', no: 0 },
    ]);
    const entries = (await auditOf(database, agency)).slice(before);
    expect(entries).toMatchObject([{ action: 'run.start', success: true, resource_id: run.id }]);
  });

  it('runs the version that is current, also when that is a newer one than was read', async () => {
    const admin = contextOf(database, agency, { role: 'admin' });
    const definition = pipelineDocument('rows', { title: randomUUID() });
    const { version } = await registerPipeline(admin.api, admin, { definition, ...asked });
    expect((await start(ctx)).pipelineVersion).toBe(version);
    // The first of them takes what was surprising for a reason to read once more.
    expect((await sentJust(sent, atOnce, () => start(ctx))).pipelineVersion).toBe(version);
  });

  it.each([
    [
      'the pipeline',
      sql`update flux.pipelines set enabled = false`,
      sql`update flux.pipelines set enabled = true`,
      'PIPELINE_NOT_FOUND',
    ],
    [
      'the agency',
      sql`update flux.agencies set enabled = false`,
      sql`update flux.agencies set enabled = true`,
      'INVALID_INPUT',
    ],
  ])('is refused when %s is not enabled any more, and that is recorded', async (_what, disable, enable, code) => {
    const runs = await countRows(database, agency, 'runs');
    const before = (await auditOf(database, agency)).length;
    await database.admin().query(sql`${disable} where agency_id = ${agency}`);
    try {
      await expect(start(ctx)).rejects.toMatchObject({ code });
    } finally {
      await database.admin().query(sql`${enable} where agency_id = ${agency}`);
    }
    expect(await countRows(database, agency, 'runs')).toBe(runs);
    expect((await auditOf(database, agency)).slice(before)).toMatchObject([{ success: false, error_code: code }]);
  });

  it('with a key is sent at once too, and a second time gives the first result', async () => {
    let idempotencyKey = '';
    const run = await sentJust(
      sent,
      [
        ...['begin', 'set_config', 'flux.require_pipelines', 'flux.require_new_keys'],
        ...['flux.queue_runs', 'flux.idempotency_keys', 'flux.append_audit_batch', 'commit'],
      ],
      () => start(ctx, { idempotencyKey: (idempotencyKey = randomUUID()) }),
    );
    expect((await start(ctx, { idempotencyKey })).id).toBe(run.id);
    await expect(start(ctx, { idempotencyKey, metadata: { other: true } })).rejects.toMatchObject({
      code: 'IDEMPOTENCY_CONFLICT',
    });
  });

  it('waits for a key that is in the hands of another request', async () => {
    const idempotencyKey = randomUUID();
    const other = contextOf(database, agency, { api: apiDeps(database, { pool: watched(database.apiPool(), []) }) });
    await start(other);
    const runs = await Promise.all([start(ctx, { idempotencyKey }), start(other, { idempotencyKey })]);
    expect(runs[0].id).toBe(runs[1].id);
  });

  it('has an id of the database’s time, however wrong the process’s clock is', async () => {
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() - 30_000); // less, and the caller's seal would not be valid either
    const { id, createdAt } = await start(ctx);
    expect(Math.abs(Number.parseInt(id.replace('-', '').slice(0, 12), 16) - createdAt.getTime())).toBeLessThan(5_000);
    // That would be so the next time as well, so it is not tried each time.
    sent.length = 0;
    for (let i = 0; i < 12; i += 1) await start(ctx);
    expect(sent.filter((one) => one === 'flux.require_pipelines').length).toBeLessThan(5);
  });

  it('of several pipelines shares a transaction', async () => {
    await start(ctx, { pipeline: 'others' });
    const runs = await sentJust(sent, atOnce, () =>
      Promise.all(['rows', 'others', 'rows'].map((pipeline) => start(ctx, { pipeline }))),
    );
    expect(runs.map(({ pipelineName }) => pipelineName)).toEqual(['rows', 'others', 'rows']);
  });
});

it('a start whose payload is sealed is sent at once as well', async () => {
  const encryption = localKeyEncryption(Buffer.alloc(32, 0x5a));
  await agencyWith(database, 'noaa', pipelineDocument('rows'));
  const { adminUrl, contextKey } = database;
  await ensureKeys({ adminUrl, contextKey, actor: 'operator:test', encryption });
  const sent: string[] = [];
  const keys = createKeyRing(encryption);
  const pool = watched(database.apiPool(), sent);
  const ctx = contextOf(database, 'noaa', { api: apiDeps(database, { pool, keys }) });
  await start(ctx);
  const run = await sentJust(sent, atOnce, () => start(ctx, { metadata: { n: 1 } }));
  expect(run.payload).not.toHaveProperty('metadata');
  expect(await readPayload({ keys }, database.admin(), run)).toMatchObject({ metadata: { n: 1, pipeline: 'rows' } });
});
