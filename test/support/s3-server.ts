import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

const bucket = 'surveys';
const credentials = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 's3cr3t-key-of-the-test' };
/** In the order in which they are looked for. gofakes3 checks no signature, and no condition but If-None-Match of one request. */
const programs = ['versitygw', 'gofakes3'];

/** Why a test that needs a server is skipped. */
export const noS3Server =
  'no server that speaks S3 is installed (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0)';

/** A server that speaks S3, with one bucket, in a process of its own. */
export interface S3Server {
  readonly url: string;
  readonly bucket: string;
  /** Of who may do everything. */
  readonly credentials: { accessKeyId: string; secretAccessKey: string };
  /** Whether it checks signatures and every condition. */
  readonly strict: boolean;
  close(): Promise<void>;
}

/** Where the program is: TEST_S3_SERVER, or the search path. @returns null where it is not installed */
export function findS3Server(): string | null {
  const named = process.env['TEST_S3_SERVER'];
  if (named !== undefined && named !== '') return existsSync(named) ? named : null;
  const folders = (process.env['PATH'] ?? '').split(path.delimiter);
  return (
    programs.flatMap((name) => folders.map((folder) => path.join(folder, name))).find((file) => existsSync(file)) ??
    null
  );
}

export async function startS3Server(program: string): Promise<S3Server> {
  const port = await freePort();
  const strict = path.basename(program) === 'versitygw';
  const folder = await mkdtemp(path.join(tmpdir(), 'flux-s3-'));
  await mkdir(path.join(folder, bucket));
  const address = `127.0.0.1:${String(port)}`;
  const { accessKeyId, secretAccessKey } = credentials;
  const args = strict
    ? ['--access', accessKeyId, '--secret', secretAccessKey, '--port', address, '--quiet', 'posix', folder]
    : ['-backend', 'memory', '-host', address, '-initialbucket', bucket];
  const child = spawn(program, args, { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await answers(port, child);
  return {
    url: `http://127.0.0.1:${String(port)}`,
    bucket,
    credentials,
    strict,
    async close() {
      child.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
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
