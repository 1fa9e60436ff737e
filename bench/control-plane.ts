/**
 * The queue beside graphile-worker and pg-boss on one server, each in a database of its own, in turns, the same number of callers
 * and connections for each, `fsync` on for all:
 *   starts   runs queued a second, against addJob and send: one call a job, which returns when the job is durable.
 *            Flux: the use case, which writes run, partition, event and audit entry under row-level security, and hints.
 *            graphile-worker: one row and a hint. pg-boss: one row.
 *   claims   one call a job: partitions claimed a second (Flux; a claim that a crash of the server undoes has bound nobody, so it
 *            does not wait for the disk), jobs fetched (pg-boss), jobs fetched and completed (graphile-worker has no fetch alone)
 *   batched  the peers' way to queue many in one call (addJobs, insert), a hundred at a time; Flux has no such call
 * Usage: node bench/control-plane.ts ADMIN_URL [JOBS] [CALLERS]   (a server where scratch databases may be created)
 */
import { randomBytes } from 'node:crypto';

import { makeWorkerUtils, run as runGraphile, Logger } from 'graphile-worker';
import { PgBoss } from 'pg-boss';

import { sealContext } from '../src/auth/tenant-context.ts';
import { migrate, sealKey } from '../src/db/migrate.ts';
import { connect, createPool } from '../src/db/pool.ts';
import { claimPartition } from '../src/db/queue.ts';
import { roleUrl } from '../src/db/roles.ts';
import { ident, sql } from '../src/db/sql.ts';
import { inTenant } from '../src/db/transaction.ts';
import { addAgency } from '../src/domain/provision-agency.ts';
import { startRun } from '../src/domain/start-run.ts';

const [url, jobCount = '1000', callerCount = '8'] = process.argv.slice(2);
const callers = Number(callerCount);
const rounds = 3;
const batch = 100;

interface Peer {
  name: string;
  start(): Promise<unknown>;
  /** Queues a hundred in one call, where there is such a call. */
  startBatch?(): Promise<unknown>;
  /** Throws away what is queued. */
  clear?(): Promise<unknown>;
  /** Takes all that was started, with `callers` at once. */
  takeAll(jobs: number): Promise<void>;
  stop(): Promise<void>;
}

async function main(serverUrl: string, jobs: number): Promise<void> {
  const server = await connect({ url: serverUrl, applicationName: 'flux bench' });
  const names = ['flux', 'graphile', 'boss'].map((name) => `flux_bench_${name}_${randomBytes(4).toString('hex')}`);
  const urls = names.map((name) => Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href);
  try {
    for (const name of names) await server.query(sql`create database ${ident(name)}`);
    const peers = [await flux(urls[0] as string), await graphile(urls[1] as string), await boss(urls[2] as string)];
    const rates = new Map(
      peers.map(({ name }) => [name, { starts: [] as number[], claims: [] as number[], batched: [] as number[] }]),
    );
    for (let round = 0; round < rounds; round += 1) {
      for (const peer of peers) {
        const of = rates.get(peer.name);
        of?.starts.push(await rate(jobs, () => concurrently(jobs, () => peer.start())));
        of?.claims.push(await rate(jobs, () => peer.takeAll(jobs)));
        const { startBatch } = peer;
        if (!startBatch) continue;
        of?.batched.push(await rate(jobs, () => concurrently(Math.ceil(jobs / batch), startBatch)));
        await peer.clear?.();
      }
    }
    process.stdout.write(
      `| ${String(callers)} callers | starts/s | claims/s | batched starts/s |\n|---|---|---|---|\n`,
    );
    for (const [name, { starts, claims, batched }] of rates) {
      process.stdout.write(
        `| ${name} | ${median(starts)} | ${median(claims)} | ${batched.length === 0 ? '' : median(batched)} |\n`,
      );
    }
    for (const peer of peers) await peer.stop();
  } finally {
    for (const name of names) await server.query(sql`drop database if exists ${ident(name)} with (force)`);
    await server.end();
  }
}

async function flux(adminUrl: string): Promise<Peer> {
  const contextKey = randomBytes(32);
  const { roles } = await migrate(adminUrl, { contextKey });
  const manifest = {
    slug: 'nasa',
    name: 'NASA',
    abbreviation: 'NASA',
    supported_content_types: ['text'],
    supported_use_cases: ['research'],
  };
  await addAgency({ adminUrl, contextKey, actor: 'operator:bench' }, manifest);
  const api = createPool({
    url: roleUrl(adminUrl, roles.api, contextKey),
    max: callers,
    applicationName: 'bench api',
    pipeline: true,
  });
  const worker = createPool({
    url: roleUrl(adminUrl, roles.worker, contextKey),
    max: callers,
    applicationName: 'bench worker',
    pipeline: true,
  });
  const seal = sealKey(contextKey);
  const sealed = (): string =>
    sealContext(seal, {
      agency: 'nasa',
      role: 'operator',
      clearance: 0,
      expiresAt: Math.floor(Date.now() / 1000) + 60,
    });
  await inTenant(api, sealed(), async (tx) => {
    await tx.query(sql`
      insert into flux.connections (agency_id, name, kind, config, created_by) values ('nasa', 'c', 'file', '{}', 'bench')
    `);
    await tx.query(sql`
      insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, connection_name,
        definition, sha256, created_by)
      values ('nasa', 'p', 1, 'p', 'text', 'research', 0, 'c', '{"source": {"path": "f"}}', ${Buffer.alloc(32)}, 'bench')
    `);
  });
  const silent = { info: () => undefined, warn: () => undefined };
  const principal = { subject: 'bench@example.gov', agency: 'nasa', role: 'operator', clearance: 0 };
  const caller = { principal, sealed, requestId: 'r', traceId: 't'.repeat(32), ip: '192.0.2.1', userAgent: null };
  const input = { pipeline: 'p', payload: null, stage: null, dryRun: null, metadata: null, reason: null };
  return {
    name: 'Flux',
    start: () => startRun({ pool: api, logger: silent }, caller, { ...input, idempotencyKey: null }),
    takeAll: (jobs) => concurrently(jobs, () => claimPartition(worker, { id: 'bench', leaseMs: 600_000 })),
    async stop() {
      await api.end();
      await worker.end();
    },
  };
}

async function graphile(connectionString: string): Promise<Peer> {
  const logger = new Logger(() => () => undefined);
  const utils = await makeWorkerUtils({ connectionString, logger, maxPoolSize: callers });
  await utils.migrate();
  return {
    name: 'graphile-worker',
    start: () => utils.addJob('noop', {}),
    startBatch: () => utils.addJobs(Array.from({ length: batch }, () => ({ identifier: 'noop', payload: {} }))),
    clear: () => utils.withPgClient((client) => client.query('delete from graphile_worker._private_jobs')),
    async takeAll(jobs) {
      let left = jobs;
      let done = (): void => undefined;
      const all = new Promise<void>((resolve) => (done = resolve));
      const noop = (): void => {
        left -= 1;
        if (left === 0) done();
      };
      const runner = await runGraphile({
        connectionString,
        logger,
        concurrency: callers,
        maxPoolSize: Math.max(callers, 2), // one of them listens, and with none left it would wait for ever
        noHandleSignals: true,
        taskList: { noop },
      });
      await all;
      await runner.stop();
    },
    stop: async () => utils.release(),
  };
}

async function boss(connectionString: string): Promise<Peer> {
  const instance = new PgBoss({ connectionString, max: callers, supervise: false, schedule: false });
  instance.on('error', () => undefined); // its database is dropped at the end
  await instance.start();
  await instance.createQueue('noop');
  return {
    name: 'pg-boss',
    start: () => instance.send('noop', {}),
    startBatch: async () => {
      await instance.insert(
        'noop',
        Array.from({ length: batch }, () => ({ data: {} })),
      );
    },
    clear: () => instance.deleteQueuedJobs('noop'),
    takeAll: (jobs) => concurrently(jobs, () => instance.fetch('noop')),
    stop: () => instance.stop({ graceful: false }),
  };
}

async function concurrently(count: number, call: () => Promise<unknown>): Promise<void> {
  let left = count;
  const one = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      if ((await call()) === null) throw new Error('expected a job, found none');
    }
  };
  await Promise.all(Array.from({ length: callers }, one));
}

async function rate(count: number, work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (count * 1_000) / (performance.now() - start);
}

function median(values: readonly number[]): string {
  return String(Math.round([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN));
}

if (url === undefined) throw new Error('usage: node bench/control-plane.ts ADMIN_URL [JOBS] [CALLERS]');
await main(url, Number(jobCount));
