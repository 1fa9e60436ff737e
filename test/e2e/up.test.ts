/** `flux up` as a person meets it: started, interrupted, killed, started again, in a folder with a space and without LANG. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import {
  eventually,
  flux,
  type FluxProcess,
  freePort,
  isRunning,
  postmasterPid,
  readRunFile,
  startFlux,
  temporaryFolder,
} from '../support/flux.ts';
import { alphaManifest } from '../support/alpha.ts';

let home: string;
let port: number;
let remove: () => Promise<void>;
let started: FluxProcess[];

beforeEach(async () => {
  const temporary = await temporaryFolder('up');
  home = path.join(temporary.folder, 'home');
  remove = temporary.remove;
  port = await freePort();
  started = [];
});

afterEach(async () => {
  for (const up of started) {
    up.kill('SIGTERM');
    await up.ended;
  }
  // A killed supervisor leaves its Postgres: this test, not the next one, ends it.
  const orphan = await postmasterPid(home).catch(() => undefined);
  if (orphan !== undefined && (await isRunning(orphan))) {
    process.kill(orphan, 'SIGQUIT');
    await eventually(
      () => isRunning(orphan),
      (running) => !running,
    );
  }
  await remove();
});

function up(...args: string[]): FluxProcess {
  const process = startFlux(['up', ...args], { home, env: { FLUX_PORT: String(port), LOG_LEVEL: 'warn' } });
  started.push(process);
  return process;
}

async function upAndReady(...args: string[]): Promise<FluxProcess> {
  const process = up(...args);
  await process.says(/Flux is up/);
  return process;
}

const ready = async (): Promise<boolean> =>
  (await fetch(`http://127.0.0.1:${String(port)}/health/ready`).catch(() => undefined))?.ok ?? false;

async function addAgency(): Promise<void> {
  const file = path.join(path.dirname(home), 'alpha.json');
  await writeFile(file, JSON.stringify(alphaManifest));
  expect(await flux(['agencies', 'add', file], { home })).toMatchObject({ code: 0 });
}

async function agencies(): Promise<string[]> {
  const { stdout } = await flux(['agencies', 'list', '--json'], { home });
  return (JSON.parse(stdout) as { slug: string }[]).map(({ slug }) => slug);
}

describe('flux up', () => {
  test('serves the API, and Ctrl-C stops everything, Postgres included', async () => {
    const process = await upAndReady('--workers', '1');
    expect(await ready()).toBe(true);
    const { workers, adminUrl } = await readRunFile(home);
    const postgres = await postmasterPid(home);
    expect(workers).toHaveLength(1);
    expect((await stat(path.join(home, 'run.json'))).mode & 0o777).toBe(0o600);

    const admin = await connect({ url: adminUrl, applicationName: 'test' });
    const { rows } = await admin.query(sql`
      select current_setting('server_encoding') as encoding, datlocale as locale, upper('é') as upper
      from pg_database where datname = current_database()
    `);
    await admin.end();
    expect(rows).toEqual([{ encoding: 'UTF8', locale: 'C.UTF-8', upper: 'É' }]);

    process.kill('SIGINT');
    expect(await process.ended).toMatchObject({ code: 0 });
    expect(await isRunning(postgres)).toBe(false);
    expect(await isRunning(workers[0]?.pid ?? 0)).toBe(false);
    expect(await ready()).toBe(false);
    await expect(readRunFile(home)).rejects.toThrow();
  });

  test('starts again after it was killed, with its data, although Postgres was left behind', async () => {
    const first = await upAndReady('--workers', '1');
    await addAgency();
    const { workers } = await readRunFile(home);
    const orphan = await postmasterPid(home);
    first.kill('SIGKILL');
    await first.ended;
    expect(await isRunning(orphan)).toBe(true);
    await eventually(
      () => isRunning(workers[0]?.pid ?? 0),
      (running) => !running,
    );

    await upAndReady('--workers', '0');
    expect(await isRunning(orphan)).toBe(false);
    expect(await agencies()).toEqual(['alpha']);
  });

  test('starts again when everything was killed, also when the old pid is now somebody else’s', async () => {
    const first = await upAndReady('--workers', '0');
    await addAgency();
    const postgres = await postmasterPid(home);
    first.kill('SIGKILL');
    process.kill(postgres, 'SIGKILL');
    await eventually(
      () => isRunning(postgres),
      (running) => !running,
    );
    const file = path.join(home, 'postgres', 'data', 'postmaster.pid');
    const lines = (await readFile(file, 'utf8')).split('\n');
    await writeFile(file, [String(process.pid), ...lines.slice(1)].join('\n'));

    await upAndReady('--workers', '0');
    expect(await agencies()).toEqual(['alpha']);
  });

  test('replaces a worker that was killed', async () => {
    await upAndReady('--workers', '2');
    const before = (await readRunFile(home)).workers;
    expect(before).toHaveLength(2);
    process.kill(before[0]?.pid ?? 0, 'SIGKILL');
    const after = await eventually(
      async () => (await readRunFile(home)).workers,
      (workers) => workers.length === 2 && workers.every(({ pid }) => pid !== before[0]?.pid),
    );
    expect(after.map(({ pid }) => pid)).toContain(before[1]?.pid);
  });

  test('starts Postgres again when that was killed, at the same address', async () => {
    await upAndReady('--workers', '0');
    await addAgency();
    const { adminUrl } = await readRunFile(home);
    const killed = await postmasterPid(home);
    process.kill(killed, 'SIGKILL');
    await eventually(
      () => postmasterPid(home).catch(() => killed),
      (pid) => pid !== killed,
    );
    await eventually(ready, Boolean);
    expect((await readRunFile(home)).adminUrl).toBe(adminUrl);
    expect(await agencies()).toEqual(['alpha']);
  });

  test('starts although Postgres is killed while the others come up', async () => {
    const first = await upAndReady('--workers', '0');
    const before = await postmasterPid(home);
    first.kill('SIGINT');
    await first.ended;
    const second = up('--workers', '0');
    const killed = await eventually(
      () => postmasterPid(home).catch(() => before),
      (pid) => pid !== before,
    );
    process.kill(killed, 'SIGKILL');
    await second.says(/Flux is up/);
    await eventually(ready, Boolean);
    expect(await agencies()).toEqual([]);
  });

  test('can be interrupted while it starts, and starts afterwards', async () => {
    const first = up('--workers', '1');
    await eventually(() => stat(path.join(home, 'postgres')).then(Boolean, () => false), Boolean);
    first.kill('SIGINT');
    expect(await first.ended).toMatchObject({ code: 0 });
    await upAndReady('--workers', '0');
  });

  test('starts after a creation of the cluster that was killed in the middle', async () => {
    const first = up('--workers', '0');
    const drafts = async (): Promise<string[]> =>
      (await readdir(path.join(home, 'postgres')).catch(() => [])).filter((entry) => entry.startsWith('data.new'));
    await eventually(async () => (await drafts()).length > 0, Boolean);
    first.kill('SIGKILL');
    await first.ended;
    await upAndReady('--workers', '0');
    expect(await agencies()).toEqual([]);
  });
});

describe('flux up says plainly', () => {
  test('that it runs already, and as which process', async () => {
    const first = await upAndReady('--workers', '0');
    const second = await flux(['up', '--workers', '0'], { home, env: { FLUX_PORT: String(await freePort()) } });
    expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining(`ALREADY_RUNNING: `) as string });
    expect(second.stderr).toContain(String(first.pid));
    expect(await ready()).toBe(true);
  });

  test('that its port is taken, before it creates a database', async () => {
    const other = createServer().listen(port, '127.0.0.1');
    try {
      const result = await flux(['up'], { home, env: { FLUX_PORT: String(port) } });
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining(`PORT_IN_USE: `) as string });
      expect(result.stderr).toContain(`127.0.0.1:${String(port)}`);
      expect(result.stderr).toContain('FLUX_PORT');
      await expect(stat(path.join(home, 'postgres'))).rejects.toThrow();
    } finally {
      await new Promise((resolve) => other.close(resolve));
    }
  });

  test('that the data belong to another major version of Postgres, and leaves them alone', async () => {
    const data = path.join(home, 'postgres', 'data');
    await mkdir(data, { recursive: true });
    await writeFile(path.join(data, 'PG_VERSION'), '15\n');
    await writeFile(path.join(home, 'postgres', 'cluster.json'), JSON.stringify({ password: 'x', dataFolder: 'data' }));
    const result = await flux(['up'], { home, env: { FLUX_PORT: String(port) } });
    expect(result).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('DATA_DIRECTORY_INCOMPATIBLE: ') as string,
    });
    expect(result.stderr).toContain('belongs to PostgreSQL 15; this Flux brings PostgreSQL 18');
    expect(await readFile(path.join(data, 'PG_VERSION'), 'utf8')).toBe('15\n');
  });

  test('that FLUX_HOME cannot be written', async () => {
    const file = path.join(path.dirname(home), 'file');
    await writeFile(file, 'no folder');
    const result = await flux(['up'], { home: path.join(file, 'home'), env: { FLUX_PORT: String(port) } });
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('CONFIG_INVALID: ') as string });
  });

  test('that production needs its keys and its issuers', async () => {
    const result = await flux(['up'], { home, env: { NODE_ENV: 'production', FLUX_PORT: String(port) } });
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('FLUX_CONTEXT_KEY is missing') as string });
    const key = 'ab'.repeat(32);
    const env = { NODE_ENV: 'production', FLUX_CONTEXT_KEY: key, FLUX_DATA_KEY: key, FLUX_PORT: String(port) };
    expect(await flux(['up'], { home, env })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('FLUX_ISSUERS is missing') as string,
    });
    await expect(stat(home)).rejects.toThrow();
  });
});
