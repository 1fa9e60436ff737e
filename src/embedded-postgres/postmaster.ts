import { type ChildProcess, spawn } from 'node:child_process';
import { open, readFile, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { FluxError } from '../errors.ts';
import { type Cluster, serverEnvironment } from './cluster.ts';

/** A running server that is our child. `exited` resolves once, when it is gone. */
export interface Postmaster {
  pid: number;
  port: number;
  exited: Promise<void>;
  /** Tells it to end without waiting, for a process that is exiting itself. */
  interrupt(): void;
  stop(): Promise<void>;
}

/** Recovery after a crash replays at most max_wal_size, measured below 10 s; a slow disk gets several times that. */
const startDeadlineMs = 60_000;
/** A fast shutdown takes 60 to 90 ms plus a checkpoint of what is dirty; then it is told more plainly. */
const fastStopMs = 15_000;
const immediateStopMs = 3_000;
const pollMs = 25;
/** A log beyond this is set aside at the next start, and the one before it dropped. */
const logByteCountMax = 10 * 1024 * 1024;

const alwaysOn = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  shared_preload_libraries: 'pg_stat_statements',
  shared_buffers: '256MB',
  max_wal_size: '1GB',
  // A batch is some 13 MB of it, and at the usual 200 ms much of that has yet to be written when the batch commits: 4 to 12 ms, 1 with this.
  wal_writer_delay: '10ms',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

/**
 * Starts the cluster's server and waits until it takes connections. Ends an orphan of an earlier start first: a supervisor
 * that was killed leaves its server running, with settings that need not be ours.
 *
 * @param fixedPort the port to keep, when clients hold its address; otherwise a taken port means another one
 * @throws DATA_DIRECTORY_INCOMPATIBLE PORT_IN_USE UNAVAILABLE
 */
export async function startPostmaster(
  cluster: Cluster,
  settings: Record<string, string>,
  fixedPort?: number,
): Promise<Postmaster> {
  const until = Date.now() + startDeadlineMs;
  await endOrphan(cluster);
  let port = fixedPort ?? (await freePort(cluster.port));
  for (;;) {
    const logFrom = await rotateLog(cluster.logFile);
    const postmaster = await launch(cluster, port, settings);
    if (await becomesReady(cluster, postmaster, until)) {
      await cluster.rememberPort(port);
      return postmaster;
    }
    const said = (await readFile(cluster.logFile, 'utf8').catch(() => '')).slice(logFrom);
    if (/Address already in use/.test(said)) {
      if (fixedPort !== undefined) throw portTaken(fixedPort);
      port = await freePort();
    } else if (!/pre-existing shared memory|lock file .* already exists/.test(said)) {
      throw didNotStart(cluster, said);
    }
    if (Date.now() >= until) throw didNotStart(cluster, said);
    // The backends of a killed server still leave.
    await delay(200);
    await endOrphan(cluster);
  }
}

async function launch(cluster: Cluster, port: number, settings: Record<string, string>): Promise<Postmaster> {
  const log = await open(cluster.logFile, 'a', 0o600);
  try {
    const options = Object.entries({ ...alwaysOn, ...settings }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const child = spawn(cluster.binaries.postgres, ['-D', cluster.dataFolder, '-p', String(port), ...options], {
      ...cluster.user,
      cwd: '/',
      env: serverEnvironment(),
      // A group of its own: Ctrl-C reaches the supervisor alone, which ends the server last.
      detached: true,
      // Files, not pipes: an orphan must not die of a closed pipe in the middle of a commit.
      stdio: ['ignore', log.fd, log.fd],
    });
    const exited = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
    child.unref();
    return {
      pid: child.pid ?? 0,
      port,
      exited,
      interrupt: () => void child.kill('SIGINT'),
      stop: () => stopChild(child, exited),
    };
  } finally {
    await log.close();
  }
}

/** True when the server takes connections, false when it ended before. The pid file is Postgres's own word for it. */
async function becomesReady(cluster: Cluster, postmaster: Postmaster, until: number): Promise<boolean> {
  let gone = false;
  void postmaster.exited.then(() => {
    gone = true;
  });
  while (!gone) {
    const told = await readPidFile(cluster.dataFolder);
    if (told?.pid === postmaster.pid && told.status === 'ready') return true;
    if (Date.now() >= until) {
      await postmaster.stop();
      return false;
    }
    await delay(pollMs);
  }
  return false;
}

async function stopChild(child: ChildProcess, exited: Promise<void>): Promise<void> {
  for (const [signal, waitMs] of [
    ['SIGINT', fastStopMs],
    ['SIGQUIT', immediateStopMs],
    ['SIGKILL', immediateStopMs],
  ] as const) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    child.kill(signal);
    const timer = new AbortController();
    await Promise.race([exited, delay(waitMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
    timer.abort();
  }
}

/** Stops the server that runs on our data folder without being our child; removes a pid file that lies. */
async function endOrphan({ dataFolder }: Cluster): Promise<void> {
  const told = await readPidFile(dataFolder);
  if (!told) return;
  const runsHere = await isServerOf(told.pid, dataFolder);
  if (runsHere === undefined) return;
  if (!runsHere) {
    // The number now belongs to another program: Postgres would take it for its predecessor and refuse to start.
    await rm(path.join(dataFolder, 'postmaster.pid'), { force: true });
    return;
  }
  for (const [signal, waitMs] of [
    ['SIGINT', fastStopMs],
    ['SIGQUIT', immediateStopMs],
    ['SIGKILL', immediateStopMs],
  ] as const) {
    if (!send(told.pid, signal)) return;
    const until = Date.now() + waitMs;
    while (Date.now() < until) {
      // Nobody may have collected the dead process yet, so its number alone proves nothing.
      if ((await isServerOf(told.pid, dataFolder)) === false) return;
      await delay(pollMs);
    }
  }
}

function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Whether that process is the server of this data folder; undefined when the system does not tell. */
async function isServerOf(pid: number, dataFolder: string): Promise<boolean | undefined> {
  if (!send(pid, 0)) return false;
  if (process.platform !== 'linux') return undefined;
  try {
    // A postmaster works inside its data folder, however it was started.
    return (await readlink(`/proc/${String(pid)}/cwd`)) === (await realpath(dataFolder));
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'ENOENT' ? false : undefined;
  }
}

/** @see PostgreSQL, src/include/utils/pidfile.h: pid on line 1, status on line 8 */
async function readPidFile(dataFolder: string): Promise<{ pid: number; status: string } | undefined> {
  const text = await readFile(path.join(dataFolder, 'postmaster.pid'), 'utf8').catch(() => undefined);
  const lines = text?.split('\n') ?? [];
  const pid = Number(lines[0]);
  return Number.isInteger(pid) && pid > 0 ? { pid, status: (lines[7] ?? '').trim() } : undefined;
}

async function rotateLog(logFile: string): Promise<number> {
  const size = (await stat(logFile).catch(() => undefined))?.size ?? 0;
  if (size < logByteCountMax) return size;
  await rename(logFile, `${logFile}.old`);
  return 0;
}

/** The preferred port if it is free, else one that the system chooses. */
async function freePort(preferred?: number): Promise<number> {
  for (const port of preferred === undefined ? [0] : [preferred, 0]) {
    const found = await new Promise<number | undefined>((resolve) => {
      const probe = createServer();
      probe.once('error', () => resolve(undefined));
      probe.listen(port, '127.0.0.1', () => {
        const address = probe.address();
        probe.close(() => resolve(typeof address === 'object' && address ? address.port : undefined));
      });
    });
    if (found !== undefined) return found;
  }
  throw new FluxError(
    'UNAVAILABLE',
    'No free port is left on 127.0.0.1 for the embedded Postgres. Close some programs, or set DATABASE_URL.',
  );
}

function portTaken(port: number): FluxError {
  return new FluxError(
    'PORT_IN_USE',
    `The embedded Postgres lost its port ${String(port)} to another program. Restart flux up.`,
  );
}

function didNotStart(cluster: Cluster, said: string): FluxError {
  const last = said
    .split('\n')
    .filter((line) => /FATAL|ERROR|PANIC|HINT|DETAIL|error while loading/.test(line))
    .slice(-3)
    .map((line) => line.replace(/^.*?(FATAL|ERROR|PANIC|HINT|DETAIL)/, '$1'))
    .join(' ');
  const code = /incompatible with server/.test(said) ? 'DATA_DIRECTORY_INCOMPATIBLE' : 'UNAVAILABLE';
  return new FluxError(
    code,
    `The embedded Postgres did not start${last ? `: ${last}` : ''}. See ${cluster.logFile}, or set DATABASE_URL.`,
  );
}
