import { randomUUID } from 'node:crypto';

import { beforeAll, describe, expect, it } from 'vitest';

import type { Context } from '../../resolvers/context.ts';
import type { Pool } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import type { StartRun } from '../../src/domain/start-run.ts';
import { apiDeps, auditOf, contextOf, countRows, pipelineDocument } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { agencyWith, start as startOne } from '../support/started-runs.ts';

const database = useDatabase();
const start = (ctx: Context, input: Partial<StartRun> = {}): ReturnType<typeof startOne> =>
  startOne(ctx, { pipeline: 'rows', ...input });

/** The code of a refusal, or the id of a run. */
async function outcome(started: ReturnType<typeof startOne>): Promise<string> {
  return started.then(
    ({ id }) => id,
    (error: unknown) => (error as { code: string }).code,
  );
}

describe('starts that come at once', () => {
  let nasa: Context;
  let noaa: Context;
  beforeAll(async () => {
    nasa = await agencyWith(
      database,
      'nasa',
      pipelineDocument('rows'),
      pipelineDocument('secret', { classification: 'S' }),
    );
    noaa = await agencyWith(database, 'noaa', pipelineDocument('rows'));
  });

  it('come with statements whose plans the server keeps, whether one comes or several', async () => {
    const planned = async (): Promise<{ text: string; custom: bigint }[]> => {
      // Each backend answers for itself, so that all connections of the pool are asked at once.
      const answers = await Promise.all(
        Array.from({ length: 8 }, () =>
          database.apiPool().withConnection(async (tx) => {
            const { rows } = await tx.query<{ pid: number; text: string; custom: bigint }>(sql`
              select pg_backend_pid() as pid, statement as text, custom_plans as custom
              from pg_prepared_statements, pg_sleep(0.05)
            `);
            return rows;
          }),
        ),
      );
      return answers.flat();
    };
    for (let i = 0; i < 30; i += 1) await start(nasa);
    for (let i = 0; i < 15; i += 1) await Promise.all([start(nasa), start(nasa), start(nasa)]);
    const often = (await planned()).filter(({ custom }) => custom > 5n); // after five PostgreSQL decides
    expect(often.map(({ text }) => text)).toEqual([]);
  });

  it('share transactions, and each has its run, partition, first event and audit entry', async () => {
    const before = (await auditOf(database, 'nasa')).length;
    const runs = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        start(nasa, { metadata: { n: i }, priority: i, reason: `reason ${String(i)}` }),
      ),
    );
    runs.forEach((run, i) => {
      expect(run).toMatchObject({
        status: 'PENDING',
        lastSeq: 1n,
        version: 2n,
        priority: i,
        reason: `reason ${String(i)}`,
      });
      expect(run.payload).toMatchObject({ metadata: { n: i, pipeline: 'rows' } });
    });
    const ids = runs.map(({ id }) => id);
    expect(new Set(ids).size).toBe(20);
    const { rows } = await database.admin().query<{
      runs: number;
      transactions: number;
      events: number;
      parts: number;
    }>(sql`
      select count(*)::int as runs, count(distinct r.xmin::text)::int as transactions,
        sum((select count(*) from flux.run_events e where e.run_id = r.run_id and e.seq = 1 and e.name = 'RunQueued'))::int as events,
        sum((select count(*) from flux.run_partitions p where p.run_id = r.run_id and p.priority = r.priority))::int as parts
      from flux.runs r
      where r.run_id = any (${ids}::uuid[])
    `);
    expect(rows[0]).toMatchObject({ runs: 20, events: 20, parts: 20 });
    expect(rows[0]?.transactions).toBeLessThan(10);
    const entries = (await auditOf(database, 'nasa')).slice(before);
    expect(entries.map(({ resource_id }) => resource_id).sort()).toEqual([...ids].sort());
    expect(entries.every(({ action, success }) => action === 'run.start' && success)).toBe(true);
  });

  it('are refused each by itself: one that cannot start leaves its entry and stops no other', async () => {
    const runs = await countRows(database, 'nasa', 'runs');
    const before = (await auditOf(database, 'nasa')).length;
    const outcomes = await Promise.all(
      ['rows', 'none', 'rows', 'secret', 'rows'].map((pipeline) => outcome(start(nasa, { pipeline }))),
    );
    expect([outcomes[1], outcomes[3]]).toEqual(['PIPELINE_NOT_FOUND', 'PIPELINE_NOT_FOUND']);
    expect(await countRows(database, 'nasa', 'runs')).toBe(runs + 3);
    const entries = (await auditOf(database, 'nasa')).slice(before);
    expect(entries.filter(({ success }) => success)).toHaveLength(3);
    expect(entries.filter(({ error_code }) => error_code === 'PIPELINE_NOT_FOUND')).toHaveLength(2);
  });

  it('give one run to one key, among others with keys of their own', async () => {
    const idempotencyKey = randomUUID();
    const same = { idempotencyKey, metadata: { same: true } };
    const runs = await Promise.all([
      start(nasa, same),
      start(nasa, { idempotencyKey: randomUUID() }),
      start(nasa, same),
      start(nasa),
      start(nasa, same),
    ]);
    expect(new Set(runs.map(({ id }) => id)).size).toBe(3);
    expect([runs[2]?.id, runs[4]?.id]).toEqual([runs[0]?.id, runs[0]?.id]);
    const outcomes = await Promise.all([
      outcome(start(nasa, same)),
      outcome(start(nasa, { idempotencyKey, metadata: { other: true } })),
      outcome(start(nasa)),
    ]);
    expect(outcomes.slice(0, 2)).toEqual([runs[0]?.id, 'IDEMPOTENCY_CONFLICT']);
  });

  it('never share a transaction across agencies or clearances', async () => {
    const cleared = contextOf(database, 'nasa', { clearance: 3 });
    const started = await Promise.all(
      Array.from({ length: 6 }, async () => [
        await start(nasa),
        await start(noaa),
        await start(cleared, { pipeline: 'secret' }),
      ]),
    );
    const { rows } = await database.admin().query<{ kinds: number }>(sql`
      select count(distinct (agency_id, classification))::int as kinds
      from flux.runs
      where run_id = any (${started.flat().map(({ id }) => id)}::uuid[])
      group by xmin::text
    `);
    expect(rows.every(({ kinds }) => kinds === 1)).toBe(true);
    expect(started.flat().map(({ agency }) => agency)).toEqual(
      Array.from({ length: 6 }, () => ['nasa', 'noaa', 'nasa']).flat(),
    );
  });

  it('start once, and are all told of it, when nobody knows whether their commit came through', async () => {
    const ctx = contextOf(database, 'noaa', { api: apiDeps(database, { pool: losingCommits(database.apiPool()) }) });
    const before = await countRows(database, 'noaa', 'runs');
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => outcome(start(ctx))));
    expect(outcomes).toEqual(Array(4).fill('UNAVAILABLE'));
    expect(await countRows(database, 'noaa', 'runs')).toBe(before + 4);
  });
});

/** Commits, and then says that the connection was lost. */
function losingCommits(pool: Pool): Pool {
  return {
    ...pool,
    withConnection: (use, signal) =>
      pool.withConnection(
        (connection) =>
          use({
            ...connection,
            async query(query) {
              const result = await connection.query<never>(query);
              if (query.strings.join('') === 'commit') {
                throw Object.assign(new Error('Connection terminated unexpectedly'), { code: 'ECONNRESET' });
              }
              return result;
            },
          }),
        signal,
      ),
  };
}
