/**
 * Two API processes on one database: what one of them starts the other serves too, and who loses one goes on at the other. The
 * history is written beside them, half of it without a hint, as when notifications are lost.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';

import { createFlux, type Flux, type RunEventItem, successOf } from '#sdk';
import { localIssuer } from '../../src/auth/local-issuer.ts';
import { channels, notify } from '../../src/db/notify.ts';
import { sql } from '../../src/db/sql.ts';
import { ensureKeys } from '../../src/domain/manage-keys.ts';
import { localKeyEncryption } from '../../src/keys/key-encryption.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey } from '../support/encryption.ts';
import { type FluxProcess, freePort, startFlux, temporaryFolder } from '../support/flux.ts';
import { definitions, history, storedSeqs } from '../support/served-api.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { useWorkerBench } from '../support/worker.ts';

interface Api {
  port: number;
  metricsPort: number;
  server: FluxProcess;
}

const database = useDatabase();
const bench = useWorkerBench(database);
let home: Awaited<ReturnType<typeof temporaryFolder>>;
let one: Api;
let other: Api;
/** Leads new connections to `one` or to `other`, as a balancer does. */
let balancer: TcpProxy;
let active: Api;
const clients: Flux[] = [];

async function start(port?: number): Promise<Api> {
  const api = { port: port ?? (await freePort()), metricsPort: await freePort() };
  const server = startFlux(['serve'], {
    home: home.folder,
    env: {
      FLUX_PORT: String(api.port),
      FLUX_METRICS_PORT: String(api.metricsPort),
      FLUX_API_DATABASE_URL: database.apiUrl,
      FLUX_CONTEXT_KEY: database.contextKey.toString('hex'),
      FLUX_DATA_KEY: testDataKey.toString('hex'),
    },
  });
  await server.says(/API is ready/);
  return { ...api, server };
}

async function kill({ server }: Api): Promise<void> {
  server.kill('SIGKILL');
  await server.ended;
}

const urlOf = ({ port }: Api): string => `http://127.0.0.1:${String(port)}`;

function client(url: string): Flux {
  const token = async (): Promise<string> => {
    const issuer = await localIssuer(home.folder);
    return issuer.sign({ agency: 'nasa', role: 'admin', subject: 'ada@example.gov', minutes: 10 }, 'flux');
  };
  const flux = createFlux({ url, token });
  clients.push(flux);
  return flux;
}

/** Follows a run to its end. */
function watch(flux: Flux, id: string): { items: RunEventItem[]; ended: Promise<void> } {
  const items: RunEventItem[] = [];
  const ended = (async () => {
    for await (const item of flux.runs.watch(id)) items.push(item);
  })();
  return { items, ended };
}

const seqs = (items: readonly RunEventItem[]): string[] => items.flatMap((item) => ('seq' in item ? [item.seq] : []));
const hint = (runId: string): Promise<void> => notify(database.admin(), channels.runEvents, runId);
const patiently = { timeout: 60_000 };

async function missedBy({ metricsPort }: Api): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${String(metricsPort)}/metrics`)).text();
  return Number(/^flux_notifications_missed_total (\d+)/m.exec(text)?.[1]);
}

beforeAll(async () => {
  await database.addAgency('nasa');
  // The processes seal what they store, as an installation does.
  const { adminUrl, contextKey } = database;
  await ensureKeys({ adminUrl, contextKey, actor: 'operator:test', encryption: localKeyEncryption(testDataKey) });
  home = await temporaryFolder('two-apis');
  one = await start();
  other = await start();
  active = one;
  balancer = await startTcpProxy(() => active.port);
  const flux = client(urlOf(one));
  successOf(await flux.api.registerConnection({ definition: definitions.connection }));
  successOf(await flux.api.registerContract({ name: 'reading', document: definitions.contract }));
  successOf(await flux.api.registerPipeline({ definition: definitions.pipeline }));
});
afterAll(async () => {
  for (const flux of clients) flux.close();
  await balancer.close();
  await Promise.all([kill(one), kill(other)]);
  await home.remove();
});

it('serve the same run to the same end, whichever of them it was started at', { timeout: 120_000 }, async () => {
  const [first, second] = [client(urlOf(one)), client(urlOf(other))];
  const { id, runId } = successOf(await first.api.startRun({ pipeline: 'readings' }));
  const run = history(database, 'nasa', runId);
  const watchers = [watch(first, id), watch(second, id)];
  await run.start();
  for (let i = 0; i < 5; i += 1) {
    await run.batches(4);
    await hint(runId);
  }
  await run.complete();
  await hint(runId);
  await Promise.all(watchers.map(({ ended }) => ended));
  const stored = await storedSeqs(database, runId);
  for (const { items } of watchers) {
    expect(seqs(items)).toEqual(stored);
    expect(items.at(-1)).toMatchObject({ __typename: 'StreamEnd', status: 'COMPLETED' });
  }
});

it('answer a mutation that is repeated at the other with the result of the first', { timeout: 60_000 }, async () => {
  const asked = { pipeline: 'readings', idempotencyKey: 'asked at both' };
  const [first, second] = await Promise.all([
    client(urlOf(one)).api.startRun(asked),
    client(urlOf(other)).api.startRun(asked),
  ]);
  expect(successOf(second).id).toBe(successOf(first).id);
});

it(
  'lose, repeat and reorder nothing for a client whose API is killed: it goes on at the other, and back again',
  { timeout: 180_000 },
  async () => {
    const flux = client(balancer.url);
    const { id, runId } = successOf(await flux.api.startRun({ pipeline: 'readings' }));
    const run = history(database, 'nasa', runId);
    const moving = watch(flux, id);
    await run.start();
    await run.batches(10);
    await expect.poll(() => moving.items.length, patiently).toBeGreaterThanOrEqual(12);

    active = other;
    await kill(one);
    const staying = watch(client(urlOf(other)), id);
    await run.batches(10);
    await hint(runId);
    await expect.poll(() => moving.items.length, patiently).toBeGreaterThanOrEqual(22);

    one = await start(one.port);
    active = one;
    await kill(other);
    await run.batches(10);
    await expect.poll(() => moving.items.length, patiently).toBeGreaterThanOrEqual(32);
    other = await start(other.port);

    await run.complete();
    await Promise.all([moving.ended, staying.ended]);
    const stored = await storedSeqs(database, runId);
    for (const { items } of [moving, staying]) {
      expect(seqs(items)).toEqual(stored);
      expect(items.at(-1)).toMatchObject({ __typename: 'StreamEnd', status: 'COMPLETED' });
    }
  },
);

it('find by their polls what no notification told, and count it', { timeout: 120_000 }, async () => {
  const [first, second] = [client(urlOf(one)), client(urlOf(other))];
  const { id, runId } = successOf(await first.api.startRun({ pipeline: 'readings' }));
  const run = history(database, 'nasa', runId);
  const before = await Promise.all([missedBy(one), missedBy(other)]);
  const watchers = [watch(first, id), watch(second, id)];
  await expect.poll(() => Math.min(...watchers.map(({ items }) => items.length)), patiently).toBeGreaterThan(0);
  await run.start();
  // One after the other until each of the two has found some late: a poll that comes at once finds what was not missed yet.
  await expect
    .poll(async () => {
      await run.batches(1);
      const after = await Promise.all([missedBy(one), missedBy(other)]);
      return after.every((count, i) => count > (before[i] ?? 0));
    }, patiently)
    .toBe(true);
  await run.complete();
  await Promise.all(watchers.map(({ ended }) => ended));
  const stored = await storedSeqs(database, runId);
  for (const { items } of watchers) expect(seqs(items)).toEqual(stored);
});

/** Kills the process that works an operation on many runs, in the middle of it. @returns how many runs were done by then */
async function killTheOneThatWorks(operationId: string): Promise<number> {
  const progress = async (): Promise<{ holder: string | null; done: number }> => {
    const { rows } = await database.admin().query<{ holder: string | null; done: number }>(sql`
      select o.leased_by as holder, count(i.*) filter (where i.status <> 'PENDING')::int as done
      from flux.bulk_operations o join flux.bulk_items i using (agency_id, operation_id)
      where o.operation_id = ${operationId}
      group by o.leased_by
    `);
    return rows[0] as { holder: string | null; done: number };
  };
  await expect.poll(async () => (await progress()).done, { ...patiently, interval: 5 }).toBeGreaterThanOrEqual(3);
  const { holder } = await progress();
  const victim = [one, other].find(({ server }) => holder?.includes(`-${String(server.pid)}-`) === true);
  if (!victim) throw new Error(`expected one of the two API processes to hold the operation, found ${String(holder)}`);
  await kill(victim);
  const { done } = await progress();
  if (victim === one) one = await start(one.port);
  else other = await start(other.port);
  return done;
}

it(
  'finish an operation on many runs whose process is killed in the middle of it: each run is cancelled once, and resumed once',
  { timeout: 240_000 },
  async () => {
    const count = 150;
    await bench.addPipeline({ agency: 'nasa', name: 'many', dataset: 'many' });
    const runs: string[] = [];
    for (let i = 0; i < count; i += 1) runs.push(await bench.queueRun('nasa', 'many'));
    for (const [verb, event, status] of [
      ['cancelRuns', 'CancelRequested', 'CANCELLED'],
      ['resumeRuns', 'RunResumed', 'PENDING'],
    ] as const) {
      const flux = client(urlOf(one));
      const asked = { filter: { pipeline: 'many' }, reason: 'wrong day' };
      const operation = successOf(await flux.api[verb](asked));
      expect(operation.total).toBe(count);
      const done = await killTheOneThatWorks(operation.operationId);
      expect(done).toBeLessThan(count);
      const look = async () => {
        const { rows } = await database.admin().query(sql`
          select o.status, count(*) filter (where i.status = 'DONE')::int as done
          from flux.bulk_operations o join flux.bulk_items i using (agency_id, operation_id)
          where o.operation_id = ${operation.operationId}
          group by o.status
        `);
        return rows[0];
      };
      await expect.poll(look, patiently).toEqual({ status: 'COMPLETED', done: count });
      const { rows } = await database.admin().query(sql`
        select count(*)::int as events, count(distinct e.run_id)::int as runs, count(distinct r.run_id)::int as there
        from flux.runs r left join flux.run_events e on e.run_id = r.run_id and e.name = ${event}
        where r.run_id = any (${runs}::uuid[]) and r.status = ${status}
      `);
      expect(rows).toEqual([{ events: count, runs: count, there: count }]);
    }
  },
);
