import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { loadConfig } from '../../src/config.ts';
import { connect } from '../../src/db/pool.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { startApi, startWorkerService } from '../../src/main.ts';
import type { Service } from '../../src/supervisor/child-side.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
let home: string;
let api: Service;
let worker: Service;

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'flux health '));
  const config = loadConfig({
    FLUX_HOME: home,
    FLUX_PORT: '0',
    FLUX_METRICS_PORT: '0',
    FLUX_CONTEXT_KEY: database.contextKey.toString('hex'),
    LOG_LEVEL: 'silent',
  });
  api = await startApi(config, database.apiUrl);
  worker = await startWorkerService(config, database.workerUrl);
});
afterAll(async () => {
  await worker.stop();
  await api.stop();
  await rm(home, { recursive: true, force: true });
});

interface Health {
  status: string;
  checks: Record<string, string>;
}

/** The names of what fails, as the API and the worker say. */
async function failing(): Promise<Record<'api' | 'worker', string[]>> {
  const ask = async (base: string | undefined): Promise<string[]> => {
    const response = await fetch(new URL('/health/ready', base));
    const { status, checks } = (await response.json()) as Health;
    const failed = Object.entries(checks).flatMap(([name, found]) => (found === 'ok' ? [] : name));
    expect([response.status, status]).toEqual(failed.length === 0 ? [200, 'ok'] : [503, 'failed']);
    return failed;
  };
  const [ofApi, ofWorker] = await Promise.all([ask(api.url), ask(worker.metricsUrl)]);
  return { api: ofApi, worker: ofWorker };
}

const none = { api: [], worker: [] };

describe('/health/ready says what fails, and that it works again', () => {
  test('when the object store cannot be written', async () => {
    expect(await failing()).toEqual(none);
    const folder = path.join(home, 'objects');
    await rm(folder, { recursive: true, force: true });
    await writeFile(folder, 'a file where the folder should be');
    expect(await failing()).toEqual({ api: ['objectStore'], worker: ['objectStore'] });
    await rm(folder);
    expect(await failing()).toEqual(none);
  });

  test.each(['max', 'min'])('when a migration is missing (%s)', async (which) => {
    const { rows } = await database.admin().query<{ row: object }>(sql`
      delete from flux.migrations
      where version = (select ${which === 'max' ? sql`max` : sql`min`}(version) from flux.migrations)
      returning to_jsonb(migrations) as row
    `);
    expect(await failing()).toEqual({ api: ['migrations'], worker: ['migrations'] });
    await database.admin().query(sql`
      insert into flux.migrations select * from jsonb_populate_record(null::flux.migrations, ${JSON.stringify(rows[0]?.row)})
    `);
    expect(await failing()).toEqual(none);
  });

  test('and nothing fails when the next release’s migrations are there already', async () => {
    await database.admin().query(sql`
      insert into flux.migrations (version, name, sha256) values (9999, 'of the next release', ${Buffer.alloc(32)})
    `);
    expect(await failing()).toEqual(none);
    await database.admin().query(sql`delete from flux.migrations where version = 9999`);
  });

  test('when the database is gone, while /health/live stays true', async () => {
    const gone = async (allow: 'true' | 'false'): Promise<void> => {
      const allowed = allow === 'true' ? sql`true` : sql`false`;
      const url = new URL(database.adminUrl);
      url.pathname = '/postgres';
      const server = await connect({ url: url.href, applicationName: 'flux test' });
      await server.query(sql`alter database ${ident(database.name)} allow_connections ${allowed}`);
      await server.query(sql`
        select pg_terminate_backend(pid, 2000) from pg_stat_activity
        where datname = ${database.name} and usename <> current_user
      `);
      await server.end();
    };
    await gone('false');
    const both = ['database', 'migrations'];
    expect(await failing()).toEqual({ api: both, worker: both });
    expect((await fetch(new URL('/health/deep', api.url))).status).toBe(503);
    expect((await fetch(new URL('/health/live', api.url))).status).toBe(200);
    await gone('true');
    expect(await failing()).toEqual(none);
  });
});

test('/health/deep shows latencies, a checkpoint’s round trip and the queue, and asks at most once a second', async () => {
  await expect.poll(async () => (await fetch(new URL('/health/deep', api.url))).status, { timeout: 20_000 }).toBe(200);
  const deep = async (): Promise<Record<string, unknown>> =>
    (await (await fetch(new URL('/health/deep', api.url))).json()) as Record<string, unknown>;
  const [first, second] = await Promise.all([deep(), deep()]);
  const took = { status: 'ok', ms: expect.any(Number) as number };
  expect(first).toEqual({
    status: 'ok',
    checks: { database: took, migrations: took, objectStore: took, checkpoint: took },
    numbers: {
      queueDepth: 0,
      queueAgeSeconds: 0,
      executing: 0,
      activeRuns: 0,
      auditSealLagSeconds: expect.any(Number) as number,
    },
  });
  expect(second).toEqual(first);
});
