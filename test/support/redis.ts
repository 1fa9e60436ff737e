import { type ChildProcess, spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';

import { eventually, freePort, temporaryFolder } from './flux.ts';

/** A Redis server of a test's own, that keeps its port over restarts. It stores nothing. */
export interface TestRedis {
  readonly port: number;
  /** Resolves when it takes connections. */
  start(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  remove(): Promise<void>;
}

/** The server program of Redis or of Valkey, which speaks the same; null where neither is installed. */
export async function findRedisServer(): Promise<string | null> {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/bin', '/usr/local/bin'];
  for (const program of ['redis-server', 'valkey-server']) {
    for (const folder of folders) {
      const file = path.join(folder, program);
      const there = await access(file, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (there) return file;
    }
  }
  return null;
}

/** @param settings such as `requirepass`, by name */
export async function createRedis(program: string, settings: Record<string, string> = {}): Promise<TestRedis> {
  const home = await temporaryFolder('redis');
  const port = await freePort();
  const usual = { bind: '127.0.0.1', save: '', appendonly: 'no', dir: home.folder };
  const plain = 'tls-port' in settings ? '0' : String(port);
  const all = { ...usual, port: plain, ...settings, ...(plain === '0' ? { 'tls-port': String(port) } : {}) };
  const args = Object.entries(all).flatMap(([name, value]) => [
    `--${name}`,
    ...(name === 'user' ? value.split(' ') : [value]),
  ]);
  let server: ChildProcess | undefined;
  const kill = async (): Promise<void> => {
    const running = server;
    server = undefined;
    if (!running || running.exitCode !== null) return;
    const ended = new Promise((resolve) => running.once('exit', resolve));
    running.kill('SIGKILL');
    await ended;
  };
  return {
    port,
    async start() {
      server = spawn(program, args, { stdio: 'ignore' });
      await eventually(
        () => answers(port),
        (yes) => yes,
        60_000,
      );
    },
    kill,
    async remove() {
      await kill();
      await home.remove();
    },
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (yes: boolean): void => {
      socket.destroy();
      resolve(yes);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
