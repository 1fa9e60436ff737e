import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { chmod, chown, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { compileCache } from './code-folder.ts';

const checkout = path.join(import.meta.dirname, '..', '..');

export interface FluxOptions {
  home: string;
  env?: Record<string, string | undefined>;
  /** Another copy of the product. */
  checkout?: string;
  /** Run as another OS user (as root only). */
  user?: { uid: number; gid: number };
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** The `flux` command as a process of its own. */
export interface FluxProcess {
  readonly process: ChildProcess;
  readonly pid: number;
  /** Resolves when it has printed this; rejects with what it said when it ends first. */
  says(pattern: RegExp): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<Ended>;
}

/** Starts `flux ARGS` with a clean environment: no LANG, nothing of ours but what the test gives. */
export function startFlux(args: readonly string[], options: FluxOptions): FluxProcess {
  const child = spawn(process.execPath, [path.join(options.checkout ?? checkout, 'src', 'cli', 'bin.mjs'), ...args], {
    cwd: '/',
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      FLUX_HOME: options.home,
      ...compileCache,
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options.user,
  });
  const output = { stdout: '', stderr: '' };
  const listeners = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.on('data', (data: Buffer) => {
      output[name] += data.toString();
      listeners.forEach((listener) => listener());
    });
  }
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal, ...output }));
  });
  return {
    process: child,
    pid: child.pid ?? 0,
    says: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!pattern.test(output.stdout) && !pattern.test(output.stderr)) return;
          listeners.delete(look);
          resolve();
        };
        listeners.add(look);
        void ended.then(() =>
          reject(new Error(`flux ended before it said ${String(pattern)}:\n${output.stdout}${output.stderr}`)),
        );
        look();
      }),
    kill: (signal) => void child.kill(signal),
    ended,
  };
}

/** Runs `flux ARGS` to its end. */
export function flux(args: readonly string[], options: FluxOptions): Promise<Ended> {
  return startFlux(args, options).ended;
}

/** A folder that the server's OS user may pass, removed by `remove`. */
export async function temporaryFolder(
  name: string,
  owner?: { uid: number; gid: number },
): Promise<{ folder: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(path.join(tmpdir(), `flux ${name} `));
  await chmod(folder, 0o711);
  if (owner) await chown(folder, owner.uid, owner.gid);
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

/**
 * Ports that are asked for by number alone. Those above are the kernel's to give, to every connection that is opened and every server
 * that takes any port (ip_local_port_range, RFC 6335): on a busy machine one that was free a moment ago is soon another's.
 */
const ownPorts = { from: 20_000, below: 32_768 };

/** A port that was free a moment ago, and that nobody is given who has not asked for it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(ownPorts.from, ownPorts.below);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'EADDRINUSE') resolve(false);
      else reject(cause);
    });
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

export interface RunFile {
  pid: number;
  adminUrl: string;
  apiUrl: string;
  workers: { id: string; pid: number }[];
}

export async function readRunFile(home: string): Promise<RunFile> {
  return JSON.parse(await readFile(path.join(home, 'run.json'), 'utf8')) as RunFile;
}

/** The pid of the server of FLUX_HOME, as Postgres wrote it. */
export async function postmasterPid(home: string): Promise<number> {
  return Number((await readFile(path.join(home, 'postgres', 'data', 'postmaster.pid'), 'utf8')).split('\n')[0]);
}

/** Whether the process exists and is no zombie. */
export async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => undefined);
  return stat !== undefined && !/\) [ZX] /.test(stat);
}

/** Asks again and again, a little later each time, until the answer is what is wanted. */
export async function eventually<T>(
  ask: () => Promise<T> | T,
  isWanted: (answer: T) => boolean,
  withinMs = 20_000,
): Promise<T> {
  const until = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (isWanted(answer)) return answer;
    if (performance.now() > until)
      throw new Error(`Not within ${String(withinMs)} ms; the last answer was ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
