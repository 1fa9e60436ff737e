import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

import { loadConfig } from '../../src/config.ts';
import { leadAudit } from '../../src/db/audit-sealing.ts';
import { connect } from '../../src/db/pool.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { startApi, startSealerService, startWorkerService } from '../../src/main.ts';
import type { Service } from '../../src/supervisor/child-side.ts';
import { useDatabase } from '../support/database.ts';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

const database = useDatabase();
let home: string;
let api: Service;
let worker: Service;
let sealer: Service;
let startSealer: () => Promise<Service>;

/** Starting processes and a sealer's lease that runs out, on a slow machine. */
const patiently = { timeout: 60_000, interval: 100 };

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
  startSealer = () => startSealerService(config, database.urlFor(database.roles.sealer));
  sealer = await startSealer();
});
afterAll(async () => {
  await sealer.stop();
  await worker.stop();
  await api.stop();
  await rm(home, { recursive: true, force: true });
});

interface Health {
  status: string;
  checks: Record<string, string>;
}

/** What the API, the worker and the sealer say, and that status and code go with it. */
async function answers(): Promise<Record<'api' | 'worker' | 'sealer', string[]>> {
  const ask = async (base: string | undefined, dispensable: readonly string[]): Promise<string[]> => {
    const response = await fetch(new URL('/health/ready', base));
    const { status, checks } = (await response.json()) as Health;
    const failed = Object.entries(checks).flatMap(([name, found]) => (found === 'ok' ? [] : name));
    const expected =
      failed.length === 0 ? 'ok' : failed.every((it) => dispensable.includes(it)) ? 'degraded' : 'failed';
    expect([response.status, status]).toEqual([expected === 'failed' ? 503 : 200, expected]);
    return failed;
  };
  const [ofApi, ofWorker, ofSealer] = await Promise.all([
    ask(api.url, ['sealer']),
    ask(worker.metricsUrl, ['sealer']),
    ask(sealer.metricsUrl, []),
  ]);
  return { api: ofApi, worker: ofWorker, sealer: ofSealer };
}

/** They say so soon: a sealer needs a moment to take the lease. */
const toBe = (expected: Awaited<ReturnType<typeof answers>>): Promise<void> =>
  expect.poll(answers, patiently).toEqual(expected);

const none = { api: [], worker: [], sealer: [] };

describe('/health/ready says what fails, and that it works again', () => {
  test('when the object store cannot be written', async () => {
    await toBe(none);
    const folder = path.join(home, 'objects');
    await rm(folder, { recursive: true, force: true });
    await writeFile(folder, 'a file where the folder should be');
    await toBe({ api: ['objectStore'], worker: ['objectStore'], sealer: [] });
    await rm(folder);
    await toBe(none);
  });

  test.each(['max', 'min'])('when a migration is missing (%s)', async (which) => {
    const { rows } = await database.admin().query<{ row: object }>(sql`
      delete from flux.migrations
      where version = (select ${which === 'max' ? sql`max` : sql`min`}(version) from flux.migrations)
      returning to_jsonb(migrations) as row
    `);
    await toBe({ api: ['migrations'], worker: ['migrations'], sealer: ['migrations'] });
    await database.admin().query(sql`
      insert into flux.migrations select * from jsonb_populate_record(null::flux.migrations, ${JSON.stringify(rows[0]?.row)})
    `);
    await toBe(none);
  });

  test('and nothing fails when the next release’s migrations are there already', async () => {
    await database.admin().query(sql`
      insert into flux.migrations (version, name, sha256) values (9999, 'of the next release', ${Buffer.alloc(32)})
    `);
    await toBe(none);
    await database.admin().query(sql`delete from flux.migrations where version = 9999`);
  });

  test('when no sealer works: the API and the workers are degraded and serve on, and are whole again with the next one', async () => {
    await toBe(none);
    await sealer.stop();
    const ofTheRest = async () => {
      const ask = async (base: string | undefined) => {
        const response = await fetch(new URL('/health/ready', base));
        const { status, checks } = (await response.json()) as Health;
        return [response.status, status, checks['sealer']];
      };
      return [await ask(api.url), await ask(worker.metricsUrl)];
    };
    const degraded = [200, 'degraded', 'failed'];
    await expect.poll(ofTheRest, patiently).toEqual([degraded, degraded]);
    sealer = await startSealer();
    await toBe(none);
  });

  test('when a sealer leads and seals nothing', async () => {
    await sealer.stop();
    const holder = await connect({ url: database.urlFor(database.roles.sealer), applicationName: 'flux test' });
    const epoch = await leadAudit(holder, { sealer: 'test', epoch: null, leaseMs: 3_600_000 });
    expect(epoch).not.toBeNull();
    sealer = await startSealer();
    await toBe(none);
    const entry = { agency: 'nasa', id: '019a0000-0000-7000-8000-000000000001' };
    await database.addAgency(entry.agency);
    await database.admin().query(sql`
      insert into flux.audit_inbox (agency_id, entry_id, at, body)
      values (${entry.agency}, ${entry.id}, clock_timestamp() - interval '301 seconds', '{}')
    `);
    // Whoever stands by is ready: another leads.
    await toBe({ api: ['sealer'], worker: ['sealer'], sealer: [] });
    await database.admin().query(sql`delete from flux.audit_inbox where entry_id = ${entry.id}`);
    await leadAudit(holder, { sealer: 'test', epoch, leaseMs: 0 });
    await holder.end();
    await toBe(none);
  });

  test('when the database takes no writes, as one that follows another does not', async () => {
    const { api: role, worker: workers, sealer: sealers } = database.roles;
    const readOnly = async (on: boolean): Promise<void> => {
      for (const name of [role, workers, sealers]) {
        const state = on ? sql`set default_transaction_read_only = on` : sql`reset default_transaction_read_only`;
        await database.admin().query(sql`alter role ${ident(name)} in database ${ident(database.name)} ${state}`);
      }
      await database.admin().query(sql`
        select pg_terminate_backend(pid, 2000) from pg_stat_activity where datname = ${database.name} and usename <> current_user
      `);
    };
    await readOnly(true);
    // The sealer’s lease cannot be renewed either.
    const both = ['database', 'sealer'];
    await toBe({ api: both, worker: both, sealer: both });
    await readOnly(false);
    await toBe(none);
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
    const all = ['database', 'migrations', 'sealer'];
    await toBe({ api: all, worker: all, sealer: all });
    expect((await fetch(new URL('/health/deep', api.url))).status).toBe(503);
    expect((await fetch(new URL('/health/live', api.url))).status).toBe(200);
    await gone('true');
    await toBe(none);
  });
});

test('/health/deep shows latencies, a checkpoint’s round trip and the queue, and asks at most once a second', async () => {
  await expect.poll(async () => (await fetch(new URL('/health/deep', api.url))).status, patiently).toBe(200);
  const deep = async (): Promise<Record<string, unknown>> =>
    (await (await fetch(new URL('/health/deep', api.url))).json()) as Record<string, unknown>;
  const [first, second] = await Promise.all([deep(), deep()]);
  const took = { status: 'ok', ms: expect.any(Number) as number };
  expect(first).toEqual({
    status: 'ok',
    checks: {
      database: took,
      migrations: took,
      objectStore: took,
      sealer: took,
      checkpoint: took,
      replication: took,
    },
    numbers: {
      queueDepth: 0,
      queueAgeSeconds: 0,
      executing: 0,
      activeRuns: 0,
      auditSealLagSeconds: expect.any(Number) as number,
      replicas: expect.any(Number) as number,
      replicasAway: 0,
      replicationLagBytes: null,
    },
  });
  expect(second).toEqual(first);
});
