/** A database and a replica that falls behind, is stopped and comes back, as /health/deep tells it; and an address that leads to the replica. */
import { chmod, mkdir } from 'node:fs/promises';
import path from 'node:path';

import { afterAll, beforeAll, expect, test, vi } from 'vitest';

import { loadConfig } from '../../src/config.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool, type Pool } from '../../src/db/pool.ts';
import { platformRoles, roleUrl } from '../../src/db/roles.ts';
import { sql } from '../../src/db/sql.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../src/embedded-postgres/start-embedded.ts';
import { checkReplication } from '../../src/health.ts';
import { startApi } from '../../src/main.ts';
import type { Service } from '../../src/supervisor/child-side.ts';
import { temporaryFolder } from '../support/flux.ts';
import { baseBackup, layOutReplica } from '../support/point-in-time.ts';

// Two servers are started first.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });

const patiently = { timeout: 60_000, interval: 100 };
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const settings = { fsync: 'off', max_connections: '50', shared_buffers: '32MB' };
const contextKey = Buffer.alloc(32, 7);
const megabyte = 1024 ** 2;

let at: (name: string) => string;
let remove: () => Promise<void>;
let primary: EmbeddedPostgres;
let replica: EmbeddedPostgres;
let admin: Pool;
let asApi: Pool;
let api: Service;

beforeAll(async () => {
  const temporary = await temporaryFolder('replication');
  ({ remove } = temporary);
  at = (name) => path.join(temporary.folder, name);
  for (const home of ['primary', 'replica']) {
    await mkdir(at(home));
    await chmod(at(home), 0o711);
  }
  primary = await startEmbedded({ home: at('primary'), logger: quiet, settings });
  await migrate(primary.adminUrl, { contextKey });
  admin = createPool({ url: primary.adminUrl, max: 2, applicationName: 'test' });
  await admin.query(sql`select pg_create_physical_replication_slot('replica', immediately_reserve => true)`);
  await baseBackup(primary.adminUrl, at('primary'), at('base'));
  await layOutReplica({
    from: at('primary'),
    backup: at('base'),
    home: at('replica'),
    of: primary.adminUrl,
    slot: 'replica',
  });
  replica = await startEmbedded({ home: at('replica'), logger: quiet, settings });
  const apiUrl = roleUrl(primary.adminUrl, platformRoles('flux').api, contextKey);
  asApi = createPool({ url: apiUrl, max: 1, applicationName: 'test' });
  api = await startApi(configOf('home'), apiUrl);
});
afterAll(async () => {
  await api.stop();
  await Promise.all([admin.end(), asApi.end()]);
  await replica.stop();
  await primary.stop();
  await remove();
});

function configOf(home: string) {
  return loadConfig({
    FLUX_HOME: at(home),
    FLUX_PORT: '0',
    FLUX_METRICS_PORT: '0',
    FLUX_CONTEXT_KEY: contextKey.toString('hex'),
    LOG_LEVEL: 'silent',
  });
}

interface Deep {
  status: string;
  checks: Record<string, { status: string }>;
  numbers: { replicas: number; replicasAway: number; replicationLagBytes: number };
}

async function deep(): Promise<{ code: number; replication: string | undefined } & Deep['numbers']> {
  const response = await fetch(new URL('/health/deep', api.url));
  const { checks, numbers } = (await response.json()) as Deep;
  const { replicas, replicasAway, replicationLagBytes } = numbers;
  const replication = checks['replication']?.status;
  return { code: response.status, replication, replicas, replicasAway, replicationLagBytes };
}

const near = (bytes: unknown): boolean => typeof bytes === 'number' && bytes < megabyte;
const following = {
  code: 200,
  replication: 'ok',
  replicas: 1,
  replicasAway: 0,
  replicationLagBytes: expect.toSatisfy(near) as number,
};

test('/health/deep says how far a replica is behind, that it is away, and that it is back', async () => {
  await expect.poll(deep, patiently).toEqual(following);

  const receiver = await connectedReceiver();
  process.kill(receiver, 'SIGSTOP');
  await admin.query(
    sql`create table public.written as select repeat(md5(n::text), 8) as words from generate_series(1, 20000) n`,
  );
  const behind = { ...following, replicationLagBytes: expect.toSatisfy((bytes) => !near(bytes)) as number };
  await expect.poll(deep, patiently).toEqual(behind);
  await expect(checkReplication(asApi, { lagBytesMax: megabyte })).rejects.toThrow(/lacks \d+ bytes of the log/);
  process.kill(receiver, 'SIGCONT');
  await expect.poll(deep, patiently).toEqual(following);
  await expect(checkReplication(asApi, { lagBytesMax: megabyte })).resolves.toBeUndefined();

  await replica.stop();
  // Nothing that the API does needs it.
  const away = { code: 200, replication: 'failed', replicas: 0, replicasAway: 1 };
  await expect.poll(deep, patiently).toMatchObject(away);
  await expect(checkReplication(asApi)).rejects.toThrow(/1 of the database’s replicas is not connected/);
  replica = await startEmbedded({ home: at('replica'), logger: quiet, settings });
  await expect.poll(deep, patiently).toEqual(following);
});

test('an API whose address leads to a replica is not ready', async () => {
  const lost = await startApi(configOf('lost'), roleUrl(replica.adminUrl, platformRoles('flux').api, contextKey));
  try {
    const response = await fetch(new URL('/health/ready', lost.url));
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ status: 'failed', checks: { database: 'failed', migrations: 'ok' } });
  } finally {
    await lost.stop();
  }
});

/** The process of the replica that takes the log in. */
async function connectedReceiver(): Promise<number> {
  const pool = createPool({ url: replica.adminUrl, max: 1, applicationName: 'test' });
  try {
    const { rows } = await pool.query<{ pid: number }>(sql`select pid from pg_stat_wal_receiver`);
    return rows[0]?.pid ?? 0;
  } finally {
    await pool.end();
  }
}
