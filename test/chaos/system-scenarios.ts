import { execFile } from 'node:child_process';
import { chown, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

import { ident, literal, sql } from '../../src/db/sql.ts';
import { type ChaosProxy, startChaosProxy } from '../support/chaos-proxy.ts';
import type { Campaign } from './campaign.ts';
import type { Member } from './herd.ts';
import { eventually, wait } from './process-scenarios.ts';

const run = promisify(execFile);

/** Kills the server, or stops it fast, every few seconds under load. */
export async function restartServer(campaign: Campaign, times: number): Promise<void> {
  await campaign.keepWorkers(3);
  for (let i = 0; i < times; i += 1) {
    await campaign.queue(2, { count: 96, batchMs: 60 });
    await wait(5_000 + campaign.random.below(2_000));
    const signal = i % 3 === 2 ? 'SIGINT' : 'SIGKILL';
    await campaign.arena.killServer(signal);
    campaign.fault(signal === 'SIGKILL' ? 'SIGKILL of the server' : 'fast restart of the server');
    await campaign.arena.ask(sql`select 1`);
  }
}

async function withProxy<T>(campaign: Campaign, use: (proxy: ChaosProxy, worker: Member) => Promise<T>): Promise<T> {
  const proxy = await startChaosProxy(campaign.arena.workerUrl);
  const worker = await campaign.herd.start({ url: proxy.url(campaign.arena.workerUrl) });
  try {
    return await use(proxy, worker);
  } finally {
    await worker.kill('SIGKILL');
    await proxy.close();
  }
}

/** COMMITs that the server works and whose replies never come. */
export async function loseCommits(campaign: Campaign, times: number): Promise<string[]> {
  await campaign.keepWorkers(0);
  return withProxy(campaign, async (proxy) => {
    for (let i = 0; i < times; i += 1) {
      await campaign.queue(2);
      await wait(campaign.random.below(400));
      const before = proxy.cuts;
      proxy.cutNextCommit();
      if (!(await eventually(async () => proxy.cuts > before, 30_000)))
        return ['a COMMIT never came through the proxy'];
      campaign.fault('the reply to a COMMIT lost');
    }
    return [];
  });
}

/** A slow network, one that tears messages apart and resets; and beside it one that is silent. */
export async function badNetwork(campaign: Campaign): Promise<string[]> {
  await campaign.keepWorkers(1);
  const wrong = await Promise.all([tornNetwork(campaign), silentNetwork(campaign)]);
  return wrong.flat();
}

const more = (campaign: Campaign): Promise<unknown> => campaign.queue(4, { count: 96, batchMs: 60 });
const busy = (campaign: Campaign, worker: Member): Promise<boolean> =>
  eventually(async () => {
    const held = await campaign.arena.ask(sql`
      select from flux.run_partitions where leased_by = ${worker.id} and status = 'EXECUTING' and holder_pid is not null
    `);
    return held.length > 0;
  }, 30_000);

function tornNetwork(campaign: Campaign): Promise<string[]> {
  return withProxy(campaign, async (proxy, worker) => {
    await more(campaign);
    proxy.slice(7);
    await busy(campaign, worker);
    await wait(2_000);
    campaign.fault('messages in pieces of 7 bytes');
    proxy.slice(0);
    proxy.delay(300);
    await wait(4_000);
    campaign.fault('latency of 300 ms each way');
    proxy.delay(0);
    for (let i = 0; i < 3; i += 1) {
      await more(campaign);
      if (!(await busy(campaign, worker))) return ['the worker behind the proxy got no work'];
      proxy.reset();
      campaign.fault('connections reset');
    }
    return [];
  });
}

function silentNetwork(campaign: Campaign): Promise<string[]> {
  return withProxy(campaign, async (proxy, worker) => {
    await more(campaign);
    if (!(await busy(campaign, worker))) return ['the worker behind the silent proxy got no work'];
    const at = Date.now();
    proxy.blackhole(true);
    await campaign.herd.noteLoss('half-open connections', worker, at);
    campaign.fault('half-open connections for 12 s');
    await wait(12_000);
    proxy.blackhole(false);
    return [];
  });
}

/** A small file system of its own. @returns why there is none */
async function mountSmall(
  campaign: Campaign,
  name: string,
  megabytes: number,
): Promise<{ folder: string } | { not: string }> {
  if (process.getuid?.() !== 0) return { not: 'mounting a small file system needs root' };
  const folder = path.join(campaign.arena.folder, name);
  await mkdir(folder, { mode: 0o711 });
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${String(megabytes)}m`, 'tmpfs', folder]);
  } catch (cause) {
    return { not: `no small file system can be mounted here (${(cause as Error).message.split('\n')[0] ?? ''})` };
  }
  campaign.arena.onClose(() => run('umount', ['-l', folder]));
  return { folder };
}

/** Takes all the room there is. @returns how to give it back */
async function fill(folder: string): Promise<() => Promise<void>> {
  const file = path.join(folder, 'filler');
  for (let size = 1 << 20; size >= 1 << 12; size >>= 1) {
    for (;;) {
      const full = await writeFile(file, Buffer.alloc(size), { flag: 'a' }).then(
        () => false,
        () => true,
      );
      if (full) break;
    }
  }
  return () => rm(file, { force: true });
}

/** The heap's file system is full while batches are written. @returns why it was skipped; null when it was not */
export async function fullHeap(campaign: Campaign): Promise<string | null> {
  const { arena } = campaign;
  const small = await mountSmall(campaign, 'heap', 4);
  if ('not' in small) return small.not;
  const agency = arena.agencies[0] as string;
  const space = path.join(small.folder, 'space');
  await mkdir(space, { mode: 0o700 });
  const [data] = await arena.ask<{ folder: string }>(sql`select current_setting('data_directory') as folder`);
  const { uid, gid } = await stat(data?.folder as string);
  await chown(space, uid, gid);
  const login = ident(arena.loginOf(agency));
  await arena.ask(sql`create tablespace small location ${literal(space)}`);
  await arena.ask(sql`grant create on tablespace small to ${login}`);
  await arena.ask(sql`alter role ${login} set default_tablespace = 'small'`);
  await campaign.keepWorkers(2);
  const runId = await arena.queueRun(agency, { count: 240, batchMs: 30 });
  campaign.watch(agency, runId);
  const batches = async (): Promise<number> =>
    (await arena.ask(sql`select from flux.run_events where run_id = ${runId} and name = 'BatchCommitted'`)).length;
  await eventually(async () => (await batches()) >= 2);
  const release = await fill(small.folder);
  campaign.fault('disk full: heap');
  // A page that is there still takes rows; it is full when something failed for it.
  await eventually(async () => {
    const events = await arena.ask(sql`
      select from flux.run_events where run_id = ${runId} and name in ('PartitionRetried', 'RunCompleted', 'RunFailed')
    `);
    return events.length > 0;
  }, 30_000);
  await release();
  await arena.ask(sql`alter role ${login} reset default_tablespace`);
  return null;
}

/** The object store's file system is full when a source is to be pinned; then a DuckDB child is killed. */
export async function fullObjectStore(campaign: Campaign): Promise<string | null> {
  const { arena, herd } = campaign;
  const small = await mountSmall(campaign, 'objects', 2);
  if ('not' in small) return small.not;
  const agency = arena.agencies[1] as string;
  const { sources, values } = await writeSource(campaign);
  await arena.addPipeline(agency, { name: 'rows', connection: 'files', path: 'rows.csv', roots: ['.'] });
  // Workers with lists would take these runs too, and do not know such a source.
  await Promise.all(herd.members().map((worker) => worker.kill('SIGKILL')));
  const release = await fill(small.folder);
  const worker = await herd.start({ files: { agency, sources, objects: path.join(small.folder, 'store') } });
  const runId = await arena.queueRunOf(agency, 'rows', null, values);
  campaign.watch(agency, runId);
  campaign.fault('disk full: objects');
  await eventually(async () => {
    const events = await arena.ask(sql`
      select from flux.run_events where run_id = ${runId} and name in ('PartitionRetried', 'RunFailed')
    `);
    return events.length > 0;
  }, 30_000);
  await release();
  await eventually(async () => {
    const events = await arena.ask(
      sql`select from flux.run_events where run_id = ${runId} and name = 'BatchCommitted'`,
    );
    return events.length >= 2;
  }, 60_000);
  if (await killDuckDb(worker)) campaign.fault('SIGKILL of a DuckDB process');
  await eventually(async () => {
    const over = await arena.ask(sql`select from flux.runs where run_id = ${runId} and finished_at is not null`);
    return over.length > 0;
  });
  await worker.kill('SIGKILL');
  return null;
}

async function writeSource({ arena }: Campaign): Promise<{ sources: string; values: number[] }> {
  const sources = path.join(arena.folder, 'sources');
  await mkdir(sources, { recursive: true });
  const values = Array.from({ length: 1_000 }, (_, i) => 50_000_000 + i);
  await writeFile(
    path.join(sources, 'rows.csv'),
    `id,value\n${values.map((value, i) => `${String(i)},${String(value)}\n`).join('')}`,
  );
  return { sources, values };
}

/** @returns whether there was one */
async function killDuckDb({ child }: Member): Promise<boolean> {
  const file = `/proc/${String(child.pid)}/task/${String(child.pid)}/children`;
  const children = (await readFile(file, 'utf8').catch(() => '')).trim().split(' ').filter(Boolean);
  for (const pid of children) process.kill(Number(pid), 'SIGKILL');
  return children.length > 0;
}
