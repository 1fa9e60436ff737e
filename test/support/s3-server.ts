import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer, type AddressInfo, connect } from 'node:net';
import path from 'node:path';

const bucket = 'surveys';

/** A server that speaks S3 (gofakes3), with one bucket, in a process of its own. */
export interface S3Server {
  readonly url: string;
  readonly bucket: string;
  close(): Promise<void>;
}

/** Where the program is: TEST_S3_SERVER, or the search path. @returns null where it is not installed */
export function findS3Server(): string | null {
  const named = process.env['TEST_S3_SERVER'];
  if (named !== undefined && named !== '') return existsSync(named) ? named : null;
  const folders = (process.env['PATH'] ?? '').split(path.delimiter);
  return folders.map((folder) => path.join(folder, 'gofakes3')).find((file) => existsSync(file)) ?? null;
}

export async function startS3Server(program: string): Promise<S3Server> {
  const port = await freePort();
  const child = spawn(program, ['-backend', 'memory', '-host', `127.0.0.1:${String(port)}`, '-initialbucket', bucket], {
    stdio: 'ignore',
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await answers(port, child);
  return {
    url: `http://127.0.0.1:${String(port)}`,
    bucket,
    async close() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answers(port: number, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (performance.now() < deadline && child.exitCode === null) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('the S3 server did not start within 30 s');
}
