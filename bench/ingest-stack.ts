import path from 'node:path';

import { localIssuer } from '../src/auth/local-issuer.ts';
import { type ApiClient, createApiClient } from '../src/cli/client.ts';
import { registerSamples, startRun } from '../src/cli/demo/register.ts';
import type { AgencySamples } from '../src/cli/demo/samples.ts';
import { readResult } from '../src/cli/demo/summary.ts';
import { followEvents, type WatchedEvent } from '../src/cli/demo/watch-run.ts';
import { type Config, loadConfig } from '../src/config.ts';
import { createPool, type Pool } from '../src/db/pool.ts';
import { sql } from '../src/db/sql.ts';
import { addAgency } from '../src/domain/provision-agency.ts';
import { localKeyEncryption } from '../src/keys/key-encryption.ts';
import { startStack } from '../src/supervisor/stack.ts';
import { ingestContract, type IngestFiles } from './ingest-data.ts';
import { cpuSecondsOfTree, machineAtRest } from './process-cpu.ts';
import { watchMemory } from './process-memory.ts';

const agency = 'bench';
const port = 4_901;

/** One run of the product, as it was measured. */
export interface IngestResult {
  runId: string;
  sound: boolean;
  read: number;
  rejected: number;
  /** From the run's start to its end: pinned, counted, loaded, reconciled, published. */
  seconds: number;
  /** From the first claim of a partition to its last batch. */
  loading: number;
  workerCpu: number;
  postgresCpu: number;
  /** The highest of worker and child together, bytes: what each has resident, and what they have of the machine (shared pages once). */
  resident: number;
  proportional: number;
  /** Resident, at a quarter, half, three quarters and the end. */
  quarters: readonly number[];
}

/** The product with one worker, and the database below it. */
export interface IngestStack {
  adminUrl: string;
  postmaster: number;
  run(pipeline: string, onEvent?: (event: WatchedEvent) => void): Promise<IngestResult>;
  workerPid(): number | undefined;
  admin: Pool;
  stop(): Promise<void>;
}

/** Starts it on a home that may have been used before. */
export async function startIngestStack(
  { home, sources, files }: { home: string; sources: string; files: readonly IngestFiles[] },
  { encryption, fresh }: { encryption: 'on' | 'off'; fresh: boolean },
): Promise<IngestStack> {
  const base = loadConfig({ ...process.env, FLUX_HOME: home, FLUX_PORT: String(port), FLUX_ENCRYPTION: encryption });
  const config: Config = { ...base, sourceRoots: { [agency]: [sources] } };
  process.env['FLUX_ENCRYPTION'] = encryption;
  const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const stack = await startStack(config, { workers: 1, logger: silent, logs: 'files' });
  const { adminUrl } = stack;
  const keys = localKeyEncryption(config.dataKey);
  const provisioning = { adminUrl, contextKey: config.contextKey, actor: 'operator:bench', encryption: keys };
  if (fresh) await addAgency(provisioning, manifest);
  const issuer = await localIssuer(config.home);
  const client = async (role: 'admin' | 'operator'): Promise<ApiClient> => {
    const token = await issuer.sign({ agency, role, subject: 'bench@example.gov', minutes: 240 }, config.audience);
    return createApiClient({ url: stack.apiUrl, token });
  };
  const [adminApi, operator] = [await client('admin'), await client('operator')];
  await registerSamples(adminApi, documents(sources, files));
  const admin = createPool({ url: adminUrl, max: 1, applicationName: 'flux bench admin' });
  const { rows } = await admin.query<{ pid: string }>(sql`select pg_read_file('postmaster.pid') as pid`);
  const postmaster = Number(rows[0]?.pid.split('\n')[0]);
  const workerPid = (): number | undefined => stack.workers()[0]?.pid;
  return {
    adminUrl,
    postmaster,
    workerPid,
    admin,
    run: (pipeline, onEvent) => measure({ operator, admin, postmaster, workerPid }, pipeline, onEvent),
    async stop() {
      await Promise.all([adminApi.close(), operator.close(), admin.end()]);
      await stack.stop();
    },
  };
}

async function measure(
  deps: { operator: ApiClient; admin: Pool; postmaster: number; workerPid: () => number | undefined },
  pipeline: string,
  onEvent: (event: WatchedEvent) => void = () => undefined,
): Promise<IngestResult> {
  const { operator, admin, postmaster, workerPid } = deps;
  await admin.query(sql`checkpoint`);
  await machineAtRest();
  const memory = watchMemory(() => [workerPid() ?? 0]);
  const cpu = (): readonly [number, number] => [cpuSecondsOfTree(workerPid() ?? 0), cpuSecondsOfTree(postmaster)];
  const before = cpu();
  const id = await startRun(operator, pipeline);
  await followEvents(operator, { id, agency, pipeline }, onEvent, new AbortController().signal);
  const after = cpu();
  memory.stop();
  const { verdict, sound } = await readResult(operator, { id, agency, pipeline });
  if (!sound) process.stderr.write(`${pipeline}: ${verdict.status} ${JSON.stringify(verdict.failure)}\n`);
  const runId = uuidOf(id);
  const { rows } = await admin.query<{ loading: number }>(sql`
    select extract(epoch from max(at) filter (where name = 'BatchCommitted') - min(at) filter (where name = 'PartitionClaimed' and partition_no > 0))::float8
      as loading
    from flux.run_events
    where run_id = ${runId}
  `);
  return {
    runId,
    sound,
    read: Number(verdict.reconciliation?.recordsRead ?? 0),
    rejected: Number(verdict.reconciliation?.recordsRejected ?? 0),
    seconds: (Date.parse(verdict.finishedAt ?? '') - Date.parse(verdict.startedAt ?? '')) / 1000,
    loading: rows[0]?.loading ?? NaN,
    workerCpu: after[0] - before[0],
    postgresCpu: after[1] - before[1],
    resident: memory.peak(),
    proportional: memory.proportionalPeak(),
    quarters: quartersOf(memory.samples),
  };
}

/** What the database calls it: a global id is its type, a colon and its key. */
function uuidOf(globalId: string): string {
  return Buffer.from(globalId, 'base64url').toString('utf8').split(':').at(-1) ?? '';
}

function quartersOf(samples: readonly number[]): number[] {
  return [0.25, 0.5, 0.75, 1].map((share) => {
    const until = samples.slice(0, Math.ceil(samples.length * share));
    return Math.max(0, ...until.slice(Math.floor(until.length * 0.75)));
  });
}

const manifest = {
  slug: agency,
  name: 'Bench',
  abbreviation: 'B',
  supported_content_types: ['text'],
  supported_use_cases: ['research'],
  data_classification: 'U',
  retention_days: 30,
  enabled: true,
};

/** The pipeline of a file: `csv-3000000`. */
export const pipelineName = (file: string): string => path.basename(file).replace(/^rows-(\d+)\.(\w+)$/, '$2-$1');

/** Pipelines of every file that may be there, and one with small batches, whose checkpoints come every hundredth. */
function documents(sources: string, offered: readonly IngestFiles[]): AgencySamples {
  const pipeline = (name: string, file: string, records: number) => ({
    name,
    document: {
      name,
      title: name,
      contentType: 'text',
      useCase: 'research',
      classification: 'U',
      source: { connection: 'files', path: path.relative(sources, file), format: { type: file.split('.').at(-1) } },
      contract: { name: 'permit', version: 1, onViolation: 'quarantine', maxRejectedRatio: 0.02 },
      destination: { type: 'postgres', dataset: name.replaceAll('-', '_'), mode: 'replace' },
      batch: { records },
      schedule: null,
    },
  });
  const files = offered.flatMap(({ csv, parquet, ndjson }) => [
    csv,
    ...(ndjson === null || parquet === null ? [] : [parquet, ndjson]),
  ]);
  return {
    slug: agency,
    manifest,
    connections: [
      { name: 'files', document: { name: 'files', title: 'Files', kind: 'file', config: { roots: ['.'] } } },
    ],
    contracts: [{ name: 'permit', document: ingestContract }],
    pipelines: [
      ...files.map((file) => pipeline(pipelineName(file), file, 100_000)),
      ...offered.slice(0, 1).map(({ rows, csv }) => pipeline('resumed', csv, Math.ceil(rows / 100))),
    ],
  };
}
