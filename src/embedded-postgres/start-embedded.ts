import { setTimeout as delay } from 'node:timers/promises';

import type { Logger } from '../telemetry/logger.ts';

import { ensureDatabase } from '../db/ensure-database.ts';
import { FluxError } from '../errors.ts';
import { ensureFolder, ensureHome, homePaths } from '../home.ts';
import { acquireProcessLock } from '../process-lock.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { type Postmaster, startPostmaster } from './postmaster.ts';

export interface EmbeddedPostgres {
  /** The superuser's URL of database `flux`; it stays the same until `stop`. */
  adminUrl: string;
  /** Ends the server; resolves when it is gone. Idempotent. */
  stop(): Promise<void>;
}

export interface EmbeddedOptions {
  /** FLUX_HOME, absolute. */
  home: string;
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Server settings beside Flux's own, for tests: `{ fsync: 'off' }`. */
  settings?: Record<string, string>;
}

/** A server that dies is started again after these waits; the last one is repeated for as long as it takes. */
const restartWaitsMs = [250, 1_000, 2_000, 5_000, 10_000];

/**
 * Starts FLUX_HOME's own Postgres, creating it the first time, and keeps it running until `stop`: a server that dies is
 * started again on the same port. Listens on 127.0.0.1 only, with scram-sha-256 and a random password.
 *
 * @throws ALREADY_RUNNING another living process has started it
 * @throws DATA_DIRECTORY_INCOMPATIBLE the data folder belongs to another major version
 * @throws CONFIG_INVALID UNAVAILABLE FLUX_HOME or the programs cannot be used; the message says why
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const { home, logger, settings = {} } = options;
  const lock = await lockCluster(home);
  try {
    const cluster = await openCluster(home);
    const first = await startPostmaster(cluster, settings);
    const adminUrl = urlOf(cluster, first.port, 'flux');
    try {
      await ensureDatabase(urlOf(cluster, first.port, 'postgres'), 'flux');
    } catch (cause) {
      await first.stop();
      throw cause;
    }
    const keeper = keepRunning(first, () => startPostmaster(cluster, settings, first.port), logger);
    logger.info({ port: first.port, dataFolder: cluster.dataFolder }, 'embedded Postgres is ready');
    let stopping: Promise<void> | undefined;
    return {
      adminUrl,
      stop: () => (stopping ??= keeper.stop().finally(() => lock.release())),
    };
  } catch (cause) {
    await lock.release();
    throw cause;
  }
}

async function lockCluster(home: string): Promise<{ release(): Promise<void> }> {
  const folder = homePaths(home).postgres;
  await ensureHome(home);
  await ensureFolder(folder, 0o711);
  const lock = await acquireProcessLock(`${folder}/lock`);
  if ('release' in lock) return lock;
  throw new FluxError(
    'ALREADY_RUNNING',
    `Process ${String(lock.heldBy)} runs the embedded Postgres of ${home}. Use that Flux, stop it, or set FLUX_HOME to another folder.`,
    { details: { pid: lock.heldBy } },
  );
}

function keepRunning(
  first: Postmaster,
  restart: () => Promise<Postmaster>,
  logger: EmbeddedOptions['logger'],
): { stop(): Promise<void> } {
  let current: Postmaster | undefined = first;
  const stopped = new AbortController();
  // A process that ends without `stop` (an uncaught error) must not leave the server behind.
  const interrupt = (): void => current?.interrupt();
  process.on('exit', interrupt);

  const watch = async (): Promise<void> => {
    while (current && !stopped.signal.aborted) {
      await current.exited;
      if (stopped.signal.aborted) return;
      logger.error({}, 'embedded Postgres ended unexpectedly; starting it again');
      current = await restartWithPatience(restart, stopped.signal, logger);
    }
  };
  const watching = watch();
  return {
    async stop() {
      stopped.abort();
      await current?.stop();
      await watching;
      // A restart that was under way when stop came has produced a server after all.
      await current?.stop();
      process.off('exit', interrupt);
    },
  };
}

async function restartWithPatience(
  restart: () => Promise<Postmaster>,
  stopped: AbortSignal,
  logger: EmbeddedOptions['logger'],
): Promise<Postmaster | undefined> {
  for (let tries = 0; ; tries += 1) {
    const waitMs = restartWaitsMs[Math.min(tries, restartWaitsMs.length - 1)] ?? 0;
    await delay(waitMs, undefined, { signal: stopped }).catch(() => undefined);
    if (stopped.aborted) return undefined;
    try {
      return await restart();
    } catch (error) {
      logger.error({ err: error, tries: tries + 1 }, 'embedded Postgres did not start again; trying on');
    }
  }
}

function urlOf({ password }: Cluster, port: number, database: string): string {
  return `postgres://postgres:${encodeURIComponent(password)}@127.0.0.1:${String(port)}/${database}`;
}
