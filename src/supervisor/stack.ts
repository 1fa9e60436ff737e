import { open, rename, stat } from 'node:fs/promises';
import path from 'node:path';

import type { Logger } from '../telemetry/logger.ts';

import { publicKeyOf } from '../audit/signed-note.ts';
import { type Config, inheritedEnvironment, requireIssuers } from '../config.ts';
import { migrate } from '../db/migrate.ts';
import { type PlatformRoles, roleUrl } from '../db/roles.ts';
import { ensureKeys } from '../domain/manage-keys.ts';
import { startEmbedded } from '../embedded-postgres/start-embedded.ts';
import { FluxError } from '../errors.ts';
import { ensureFolder, ensureHome, homePaths } from '../home.ts';
import { chooseKeyEncryption } from '../keys/choose-key-encryption.ts';
import { acquireProcessLock } from '../process-lock.ts';
import { type Child, type ChildOptions, startChild } from './child.ts';
import { startDashboardBuild } from './dashboard-build.ts';
import { requireFreePort } from './free-port.ts';
import { startPatiently } from './patience.ts';
import { removeRunFile, writeRunFile } from './run-file.ts';

/** Everything that `flux up` runs: Postgres (unless DATABASE_URL), the processes of the sealer, the API and the workers. */
export interface Stack {
  apiUrl: string;
  adminUrl: string;
  /** The workers that are ready now; a killed one is missing until its successor is. */
  workers(): { id: string; pid: number }[];
  /** Stops workers, API and Postgres, in this order. Idempotent. */
  stop(): Promise<void>;
}

export interface StackOptions {
  workers: number;
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Where the children's log lines go: this process's own output, or files in FLUX_HOME/logs. */
  logs: 'inherit' | 'files';
  /** Aborts a start that is under way; what had started is stopped again. */
  signal?: AbortSignal;
  /** Told of each worker process that becomes ready, successors too. */
  onWorkerStart?: (worker: { name: string; id: string; pid: number }) => void;
  onWorkerExit?: (worker: { name: string; pid: number; how: string }) => void;
}

type Patience = ReturnType<typeof startPatiently>;

/** A worker drains within 10 s (it finishes its batch and gives its lease back), the API within 5 s. */
const workerGraceMs = 12_000;
const apiGraceMs = 6_000;
const sealerGraceMs = 6_000;
const logByteCountMax = 10 * 1024 * 1024;

/**
 * Starts the stack. What cannot work is said before anything is started: a second stack on this FLUX_HOME, a taken port, a
 * missing issuer. A start that fails later stops what it had started.
 *
 * @throws ALREADY_RUNNING PORT_IN_USE CONFIG_INVALID UNAVAILABLE MIGRATION_MISMATCH DATA_DIRECTORY_INCOMPATIBLE
 */
export async function startStack(config: Config, options: StackOptions): Promise<Stack> {
  const started = new Unwinding(options.logger);
  try {
    requireIssuers(config);
    // Read early: in production a missing key must be said before anything starts.
    void config.auditKey;
    const lock = await lockHome(config.home);
    started.push(() => lock.release());
    await requireFreePort(config.host, config.port);
    if (config.environment === 'development') started.push(startDashboardBuild(options.logger));
    // A server of DATABASE_URL is not restarted by us, so there is nothing to wait for.
    const patiently: Patience = config.databaseUrl === undefined ? startPatiently(options.signal) : (step) => step();
    const adminUrl = await patiently(() => openDatabase(config, options, started));
    const { roles, applied } = await patiently(() => migrate(adminUrl, { contextKey: config.contextKey }));
    if (applied.length > 0) options.logger.info({ applied }, 'database migrated');
    await patiently(() => ensureDataKeys(config, adminUrl));
    const env = childEnvironment(config, adminUrl, roles);
    const children = await startChildren(config, options, env, started, patiently);
    const apiUrl = children.api.current()?.url ?? `http://${config.host}:${String(config.port)}`;
    const record = (): Promise<void> =>
      writeRunFile(config.home, {
        pid: process.pid,
        adminUrl,
        apiUrl,
        workers: children.workers(),
        metricsUrls: children.metricsUrls(),
      });
    started.push(() => removeRunFile(config.home));
    await record();
    children.whenChanged(() => void record().catch(() => undefined));
    started.push(() => Promise.resolve(children.whenChanged(() => undefined)));
    let stopping: Promise<void> | undefined;
    return { apiUrl, adminUrl, workers: children.workers, stop: () => (stopping ??= started.unwind()) };
  } catch (cause) {
    await started.unwind();
    throw cause;
  }
}

/** An agency that was added before there were data keys gets its own now. */
async function ensureDataKeys(config: Config, adminUrl: string): Promise<void> {
  const encryption = chooseKeyEncryption(config);
  await ensureKeys({ adminUrl, contextKey: config.contextKey, actor: 'operator:flux up', encryption });
}

/** What has started, to be stopped in reverse. One part that fails to stop does not keep the others up. */
class Unwinding {
  readonly #logger: StackOptions['logger'];
  readonly #steps: (() => Promise<unknown>)[] = [];

  constructor(logger: StackOptions['logger']) {
    this.#logger = logger;
  }

  push(step: () => Promise<unknown>): void {
    this.#steps.push(step);
  }

  async unwind(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) {
      await step().catch((error: unknown) => this.#logger.error({ err: error }, 'a part did not stop cleanly'));
    }
  }
}

async function lockHome(home: string): Promise<{ release(): Promise<void> }> {
  await ensureHome(home);
  const lock = await acquireProcessLock(homePaths(home).lock);
  if ('release' in lock) return lock;
  throw new FluxError(
    'ALREADY_RUNNING',
    `Flux already runs on ${home} as process ${String(lock.heldBy)}. Use it, stop it with Ctrl-C or kill ${String(lock.heldBy)}, or set FLUX_HOME to another folder.`,
    { details: { pid: lock.heldBy } },
  );
}

async function openDatabase(config: Config, { logger, signal }: StackOptions, started: Unwinding): Promise<string> {
  if (config.databaseUrl !== undefined) return config.databaseUrl;
  const postgres = await startEmbedded({ home: config.home, logger });
  started.push(() => postgres.stop());
  signal?.throwIfAborted();
  return postgres.adminUrl;
}

/** The children log in as their own roles; the admin's URL stays here. */
function childEnvironment(config: Config, adminUrl: string, roles: PlatformRoles): NodeJS.ProcessEnv {
  const { DATABASE_URL: _url, DATABASE_URL_FILE: _file, ...rest } = inheritedEnvironment();
  return {
    ...rest,
    FLUX_HOME: config.home,
    FLUX_API_DATABASE_URL: config.apiDatabaseUrl ?? roleUrl(adminUrl, roles.api, config.contextKey),
    FLUX_WORKER_DATABASE_URL: config.workerDatabaseUrl ?? roleUrl(adminUrl, roles.worker, config.contextKey),
    FLUX_SEALER_DATABASE_URL: config.sealerDatabaseUrl ?? roleUrl(adminUrl, roles.sealer, config.contextKey),
    FLUX_SEALER_DATABASE_URL_FILE: undefined,
    FLUX_AUDIT_PUBLIC_KEY: [publicKeyOf(config.auditKey, config.auditAlgorithm), ...config.auditPublicKeys]
      .map((key) => key.toString('hex'))
      .join(','),
    FLUX_API_DATABASE_URL_FILE: undefined,
    FLUX_WORKER_DATABASE_URL_FILE: undefined,
    FLUX_SOURCE_ROOTS: JSON.stringify(config.sourceRoots),
    FLUX_PORT: String(config.port),
    FLUX_HOST: config.host,
  };
}

/** Whoever holds it can sign any history. */
function withoutAuditKey(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, FLUX_AUDIT_KEY: undefined, FLUX_AUDIT_KEY_FILE: undefined };
}

interface Children {
  api: Child;
  workers: () => { id: string; pid: number }[];
  metricsUrls: () => string[];
  whenChanged(listener: () => void): void;
}

async function startChildren(
  config: Config,
  options: StackOptions,
  env: NodeJS.ProcessEnv,
  started: Unwinding,
  patiently: Patience,
): Promise<Children> {
  const { logger, signal } = options;
  let changed = (): void => undefined;
  const start = async (
    name: string,
    command: string,
    graceMs: number,
    hooks: Partial<ChildOptions>,
  ): Promise<Child> => {
    signal?.throwIfAborted();
    const output = options.logs === 'inherit' ? 'inherit' : await openLog(config.home, name, started);
    const shared = command === 'sealer' ? env : withoutAuditKey(env);
    // The API has the declared port; all others take a free one, and run.json says which the workers' are.
    const own = command !== 'serve' ? { ...shared, FLUX_METRICS_PORT: '0' } : shared;
    const child = await patiently(() => startChild({ name, args: [command], env: own, output, logger, ...hooks }));
    started.push(() => child.stop(graceMs));
    return child;
  };
  // Started first, so that it stops last and seals what the others leave.
  await start('sealer', 'sealer', sealerGraceMs, {});
  const api = await start('api', 'serve', apiGraceMs, {});
  const workers = await startAll(
    Array.from({ length: options.workers }, (_, i) => `worker-${String(i + 1)}`),
    (name) =>
      start(name, 'worker', workerGraceMs, {
        onReady: (worker) => {
          changed();
          options.onWorkerStart?.(worker);
        },
        onExit: (worker) => {
          changed();
          options.onWorkerExit?.(worker);
        },
      }),
  );
  return {
    api,
    workers: () => workers.flatMap((worker) => worker.current() ?? []).map(({ id, pid }) => ({ id, pid })),
    metricsUrls: () => [api, ...workers].flatMap((child) => child.current()?.metricsUrl ?? []),
    whenChanged(listener) {
      changed = listener;
    },
  };
}

/** Starts all at once and waits for all, so that a failure never leaves one that starts after the unwinding. */
async function startAll(names: string[], start: (name: string) => Promise<Child>): Promise<Child[]> {
  const outcomes = await Promise.allSettled(names.map(start));
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}

async function openLog(home: string, name: string, started: Unwinding): Promise<number> {
  const folder = homePaths(home).logs;
  await ensureFolder(folder, 0o700);
  const file = path.join(folder, `${name}.log`);
  const size = (await stat(file).catch(() => undefined))?.size ?? 0;
  if (size > logByteCountMax) await rename(file, `${file}.old`);
  const log = await open(file, 'a', 0o600);
  started.push(() => log.close());
  return log.fd;
}
