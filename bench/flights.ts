/**
 * The 3,000,000-row flights run on a stack of its own: rate, memory of each worker with its DuckDB child, time from a worker's
 * SIGKILL to the next batch of its partition, and what the API's answers cost meanwhile. One run, one table; see README.md.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { DuckDBInstance } from '@duckdb/node-api';

import { localIssuer } from '../src/auth/local-issuer.ts';
import { type ApiClient, createApiClient } from '../src/cli/client.ts';
import { createAssassin } from '../src/cli/demo/kill-worker.ts';
import { registerSamples, startRun } from '../src/cli/demo/register.ts';
import { readSamples, sampleDataFolder } from '../src/cli/demo/samples.ts';
import { readResult } from '../src/cli/demo/summary.ts';
import { followEvents } from '../src/cli/demo/watch-run.ts';
import { type Config, loadConfig } from '../src/config.ts';
import { addAgency } from '../src/domain/provision-agency.ts';
import { localKeyEncryption } from '../src/keys/key-encryption.ts';
import { requireFreePort } from '../src/supervisor/free-port.ts';
import { type Stack, startStack } from '../src/supervisor/stack.ts';
import { type Latency, sampleLatency } from './latency.ts';
import { watchMemory } from './process-memory.ts';

const agency = 'bts';
const pipeline = 'flights';
const bench = process.argv.includes('--kill') ? { killAfter: 1_000_000 } : { killAfter: Infinity };
const port = 4_900;
/** How many times the file's three million records follow each other: memory must not grow with it. */
const copies = Number(/^--copies=(\d+)$/m.exec(process.argv.join('\n'))?.[1] ?? 1);

async function main(): Promise<void> {
  const home = await mkdtemp(path.join(tmpdir(), 'flux-bench-'));
  const base = loadConfig({ ...process.env, FLUX_HOME: home, FLUX_PORT: String(port) });
  const source = copies === 1 ? sampleDataFolder() : await multiplied(home);
  const config: Config = { ...base, sourceRoots: { [agency]: [source] } };
  await requireFreePort(config.host, config.port);
  const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const stack = await startStack(config, { workers: 2, logger: silent, logs: 'files' });
  try {
    await measure(stack, config);
  } finally {
    await stack.stop();
    await rm(home, { recursive: true, force: true });
  }
}

/** A folder with a file of the sample's name and so many times its records. */
async function multiplied(home: string): Promise<string> {
  const folder = path.join(home, 'sources');
  await mkdir(folder);
  const connection = await (await DuckDBInstance.create()).connect();
  const [from, to] = [sampleDataFolder(), folder].map((at) =>
    path.join(at, 'flights-3m.parquet').replaceAll("'", "''"),
  );
  await connection.run(`copy (select f.* from '${from}' f, range(${String(copies)})) to '${to}' (format parquet)`);
  connection.closeSync();
  return folder;
}

async function measure(stack: Stack, config: Config): Promise<void> {
  const sample = (await readSamples()).find(({ slug }) => slug === agency);
  if (!sample) throw new Error(`no samples of ${agency}`);
  await addAgency(
    {
      adminUrl: stack.adminUrl,
      contextKey: config.contextKey,
      actor: 'operator:bench',
      encryption: localKeyEncryption(config.dataKey),
    },
    sample.manifest,
  );
  const issuer = await localIssuer(config.home);
  const token = (role: 'admin' | 'operator'): Promise<string> =>
    issuer.sign({ agency, role, subject: 'bench@example.gov', minutes: 60 }, config.audience);
  const admin = createApiClient({ url: stack.apiUrl, token: await token('admin') });
  const operator = createApiClient({ url: stack.apiUrl, token: await token('operator') });
  await registerSamples(admin, sample);
  const probe = (): Promise<unknown> =>
    operator.flux.client.request(
      'query Probe { runs(first: 20) { edges { node { id status progress { recordsRead fraction } } } } }',
    );
  const idle = await sampleLatency(probe, 20, new Promise((resolve) => setTimeout(resolve, 5_000)));
  const memory = watchMemory(() => stack.workers().map(({ pid }) => pid));
  const { run, recovery, finished } = await startAndFollow(stack, operator);
  const busy = await sampleLatency(probe, 20, finished);
  await finished;
  memory.stop();
  const { verdict, sound } = await readResult(operator, { id: run, agency, pipeline });
  const seconds = (Date.parse(verdict.finishedAt ?? '') - Date.parse(verdict.startedAt ?? '')) / 1000;
  const read = Number(verdict.reconciliation?.recordsRead ?? 0);
  report({ sound, seconds, read, peak: memory.peak(), samples: memory.samples, recovery: recovery(), idle, busy });
  await Promise.all([admin.close(), operator.close()]);
}

async function startAndFollow(
  stack: Stack,
  api: ApiClient,
): Promise<{ run: string; recovery: () => number | null; finished: Promise<void> }> {
  const run = await startRun(api, pipeline);
  const assassin = createAssassin(bench.killAfter);
  let recovery: number | null = null;
  void assassin.recovered.then((seconds) => {
    recovery = seconds;
  });
  const never = new AbortController().signal;
  const finished = followEvents(
    api,
    { id: run, agency, pipeline },
    (event) => {
      const victim = assassin.observe(event);
      const worker = victim && stack.workers().find(({ id }) => id === victim.worker);
      if (worker) process.kill(worker.pid, 'SIGKILL');
    },
    never,
  );
  return { run, recovery: () => recovery, finished };
}

interface Report {
  sound: boolean;
  seconds: number;
  read: number;
  peak: number;
  samples: readonly number[];
  recovery: number | null;
  idle: Latency;
  busy: Latency;
}

function report({ sound, seconds, read, peak, samples, recovery, idle, busy }: Report): void {
  const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
  const quarters = [0.25, 0.5, 0.75, 1].map((share) => {
    const until = samples.slice(0, Math.ceil(samples.length * share));
    return mib(Math.max(0, ...until.slice(Math.floor(until.length * 0.75))));
  });
  const line = (name: string, value: string): string => `| ${name.padEnd(58)} | ${value} |`;
  process.stdout.write(
    `${[
      line('reconciled, every checkpoint verified', sound ? 'yes' : 'NO'),
      line('records', read.toLocaleString('en-US')),
      line('seconds, start to end', seconds.toFixed(1)),
      line('records/s', Math.round(read / seconds).toLocaleString('en-US')),
      line('peak resident of one worker with its child, MiB', mib(peak)),
      line('the same at a quarter, half, three quarters, the end, MiB', quarters.join(' ')),
      ...(recovery === null ? [] : [line('SIGKILL to the first new batch of the partition, s', recovery.toFixed(1))]),
      line(
        'API list query, idle: p50 / p99 ms',
        `${idle.p50.toFixed(1)} / ${idle.p99.toFixed(1)} (${String(idle.count)})`,
      ),
      line(
        'API list query, while two workers run: p50 / p99 ms',
        `${busy.p50.toFixed(1)} / ${busy.p99.toFixed(1)} (${String(busy.count)})`,
      ),
    ].join('\n')}\n`,
  );
  if (!sound) process.exitCode = 1;
}

await main();
