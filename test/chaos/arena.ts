import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { sealContext } from '../../src/auth/tenant-context.ts';
import { migrate, sealKey } from '../../src/db/migrate.ts';
import { createPool, type Pool } from '../../src/db/pool.ts';
import { agencyRole, platformRoles, rolePassword, rolePrefix } from '../../src/db/roles.ts';
import { newRunIds, queueRuns } from '../../src/db/runs.ts';
import { type Sql, sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import type { Caller } from '../../src/domain/caller.ts';
import { startEmbedded } from '../../src/embedded-postgres/start-embedded.ts';
import { provisionTestAgency } from '../support/agency.ts';
import { createAuditTables } from './invariants.ts';
import { listPath, type ListSource, valuesOf } from './list-source.ts';

/** A server of the suite's own, to be killed as often as it likes, with some agencies and a pipeline of each. */
export interface Arena {
  readonly folder: string;
  readonly agencies: readonly string[];
  readonly contextKey: Buffer;
  readonly workerUrl: string;
  readonly apiUrl: string;
  readonly adminUrl: string;
  readonly api: Pool;
  readonly admin: Pool;
  /** Asks as a superuser, again and again while the server is away. */
  ask<Row extends object>(query: Sql): Promise<Row[]>;
  /** The database's own name of an agency's login. */
  loginOf(agency: string): string;
  urlOf(role: string): string;
  caller(agency: string): Caller;
  sealed(agency: string): string;
  /** Queues a run over a list of its own, and notes what has to become of each record. */
  queueRun(agency: string, list?: Partial<ListSource>): Promise<string>;
  /** Queues a run of a registered pipeline; the values are those of its records, null for one that is to be rejected. */
  queueRunOf(
    agency: string,
    pipeline: string,
    path: string | null,
    values: readonly (number | null)[],
  ): Promise<string>;
  addPipeline(
    agency: string,
    pipeline: { name: string; connection: string; path: string; roots: string[] },
  ): Promise<void>;
  /** Ends the postmaster; its supervisor starts it again. */
  killServer(signal: 'SIGKILL' | 'SIGINT'): Promise<void>;
  /** Done after the server has stopped. */
  onClose(undo: () => Promise<unknown>): void;
  close(): Promise<void>;
}

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

export async function openArena(agencyCount: number, settings: Record<string, string>): Promise<Arena> {
  const folder = await mkdtemp(path.join(tmpdir(), 'flux-chaos-'));
  // Started by root, the server works as another OS user, which must be able to pass.
  await chmod(folder, 0o711);
  const home = path.join(folder, 'home');
  const server = await startEmbedded({ home, logger: quiet, settings: { max_connections: '200', ...settings } });
  const { adminUrl } = server;
  const contextKey = randomBytes(32);
  await migrate(adminUrl, { contextKey });
  const agencies = Array.from({ length: agencyCount }, (_, i) => `agency${String(i)}`);
  for (const agency of agencies) await provisionTestAgency({ adminUrl, contextKey }, agency, {});
  const ignore = (): void => undefined;
  const admin = createPool({ url: adminUrl, max: 4, applicationName: 'chaos', onError: ignore });
  await createAuditTables(admin);
  const database = new URL(adminUrl).pathname.slice(1);
  const roles = platformRoles(rolePrefix(database));
  const urlOf = (role: string): string => {
    const url = new URL(adminUrl);
    url.username = role;
    url.password = rolePassword(contextKey, role);
    return url.href;
  };
  const api = createPool({
    url: urlOf(roles.api),
    max: 10,
    applicationName: 'chaos api',
    pipeline: true,
    onError: ignore,
  });
  const sealed = (agency: string): string =>
    sealContext(sealKey(contextKey), {
      agency,
      role: 'operator',
      clearance: 0,
      expiresAt: Math.floor(Date.now() / 1_000) + 3_600,
    });
  let nextValue = 1;
  const undos: (() => Promise<unknown>)[] = [];

  const arena: Arena = {
    folder,
    agencies,
    contextKey,
    adminUrl,
    admin,
    workerUrl: urlOf(roles.worker),
    apiUrl: urlOf(roles.api),
    api,
    urlOf,
    sealed,
    loginOf: (agency) => agencyRole(database, agency, 'rw'),
    ask: (query) => patiently(async () => (await admin.query(query)).rows as never),
    caller: (agency) => ({
      principal: { subject: 'operator@example.gov', agency, role: 'operator', clearance: 0 },
      sealed: () => sealed(agency),
      requestId: 'chaos',
      traceId: '0'.repeat(32),
      ip: '127.0.0.1',
      userAgent: null,
    }),
    async queueRun(agency, given = {}) {
      const list = { firstValue: nextValue, count: 48, partitions: 2, batchMs: 40, ...given };
      nextValue += list.count;
      const values = valuesOf(list).map((value) => (value === 'bad' ? null : value));
      return queue(agency, 'lists', listPath(list), values);
    },
    queueRunOf: (agency, pipeline, source, values) => queue(agency, pipeline, source, values),
    async addPipeline(agency, pipeline) {
      await patiently(() => inTenant(api, sealed(agency), (tx) => insertPipeline(tx, agency, pipeline)));
    },
    async killServer(signal) {
      const [first] = (await readFile(path.join(await dataFolder(), 'postmaster.pid'), 'utf8')).split('\n');
      process.kill(Number(first), signal);
    },
    onClose: (undo) => void undos.push(undo),
    async close() {
      await Promise.allSettled([admin.end(), api.end()]);
      await server.stop();
      for (const undo of undos.reverse()) await undo().catch(() => undefined);
      await rm(folder, { recursive: true, force: true });
    },
  };
  for (const agency of agencies) {
    await arena.addPipeline(agency, { name: 'lists', connection: 'lists', path: 'list', roots: ['.'] });
  }
  let serverData: string | undefined;
  async function dataFolder(): Promise<string> {
    serverData ??= (await arena.ask<{ folder: string }>(sql`select current_setting('data_directory') as folder`))[0]
      ?.folder as string;
    return serverData;
  }
  await dataFolder();
  await mkdir(path.join(folder, 'work'), { recursive: true });
  return arena;

  async function queue(
    agency: string,
    pipeline: string,
    source: string | null,
    values: readonly (number | 'drop' | null)[],
  ): Promise<string> {
    const runId = await patiently(() =>
      inTenant(api, sealed(agency), async (tx) => {
        const [id = ''] = await newRunIds(tx, 1);
        const run = {
          id,
          pipelineName: pipeline,
          pipelineVersion: 1,
          stage: 'FULL',
          contentType: 'text',
          useCase: 'research',
          classification: 0,
          requestedBy: 'operator@example.gov',
          reason: null,
          payload: source === null ? {} : { source },
          traceId: null,
          event: { name: 'RunQueued', message: 'Queued.' },
        } as const;
        await queueRuns(tx, [run]);
        return id;
      }),
    );
    const expected = values.flatMap((value, i) =>
      value === 'drop' ? [] : [{ no: i + 1, value, fate: value === null ? 'rejected' : 'written' }],
    );
    await arena.ask(sql`
      insert into chaos.expected (agency_id, run_id, record_no, value, fate)
      select ${agency}, ${runId}, no, value, fate
      from jsonb_to_recordset(${JSON.stringify(expected)}::jsonb) as x (no bigint, value bigint, fate text)
      on conflict do nothing
    `);
    return runId;
  }
}

/** The suite's own questions must not fail because of the fault that it has let loose. */
export async function patiently<T>(work: () => Promise<T>, patienceMs = 90_000): Promise<T> {
  const until = performance.now() + patienceMs;
  for (;;) {
    try {
      return await work();
    } catch (cause) {
      if (performance.now() > until) throw cause;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function insertPipeline(
  tx: Pool | Parameters<Parameters<Pool['withConnection']>[0]>[0],
  agency: string,
  { name, connection, path: source, roots }: { name: string; connection: string; path: string; roots: string[] },
): Promise<void> {
  const definition = {
    name,
    source: { connection, path: source, format: { type: 'csv', header: true } },
    contract: { name: 'numbers', version: 1, onViolation: 'quarantine', maxRejectedRatio: 1 },
    destination: { type: 'postgres', dataset: name, mode: 'append' },
    batch: { records: 50 },
  };
  await tx.query(sql`
    insert into flux.connections (agency_id, name, kind, config, created_by)
    values (${agency}, ${connection}, 'file', ${JSON.stringify({ roots })}, 'chaos')
    on conflict do nothing
  `);
  await tx.query(sql`
    insert into flux.contracts (agency_id, name, version, document, sha256, created_by)
    values (${agency}, 'numbers', 1, ${JSON.stringify(contract)}, ${Buffer.alloc(32)}, 'chaos')
    on conflict do nothing
  `);
  await tx.query(sql`
    insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, contract_name,
      contract_version, connection_name, definition, sha256, created_by)
    values (${agency}, ${name}, 1, 'Numbers', 'text', 'research', 0, 'numbers', 1, ${connection}, ${JSON.stringify(definition)},
      ${Buffer.alloc(32)}, 'chaos')
    on conflict do nothing
  `);
}

const contract = {
  type: 'object',
  properties: { id: { type: 'integer' }, value: { type: 'integer' } },
  required: ['id', 'value'],
};
