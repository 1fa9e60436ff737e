/** The same commands elsewhere: another OS user, closed folders, a checkout with a space, a server that is not ours. */
import { randomBytes } from 'node:crypto';
import { chmod, cp, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';

import { connect, type Connection } from '../../src/db/pool.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { dropDatabase } from '../support/template.ts';
import {
  type Ended,
  flux,
  type FluxOptions,
  freePort,
  postmasterPid,
  readRunFile,
  startFlux,
  temporaryFolder,
} from '../support/flux.ts';

const checkout = path.join(import.meta.dirname, '..', '..');
const isRoot = process.getuid?.() === 0;
/** nobody and nogroup, everywhere where there is a root. */
const nobody = { uid: 65_534, gid: 65_534 };
/** A checkout below a closed home cannot be run by anybody else; then there is nothing to try. */
const canLendTheCheckout = isRoot && (await isOpen(checkout));

let folder: string;
let remove: () => Promise<void>;
let port: number;

beforeEach(async () => {
  ({ folder, remove } = await temporaryFolder('surroundings'));
  port = await freePort();
});
afterEach(() => remove());

/** Starts the stack, lets `during` look at it, and stops it. */
async function withUp(options: FluxOptions, during: () => Promise<void>): Promise<Ended> {
  const up = startFlux(['up', '--workers', '1'], {
    ...options,
    env: { FLUX_PORT: String(port), LOG_LEVEL: 'warn', ...options.env },
  });
  try {
    await up.says(/Flux is up/);
    await during();
  } finally {
    up.kill('SIGTERM');
  }
  return up.ended;
}

const ready = async (): Promise<boolean> =>
  (await fetch(`http://127.0.0.1:${String(port)}/health/ready`).catch(() => undefined))?.ok ?? false;

const manifest = JSON.stringify({
  slug: 'alpha',
  name: 'Agency Alpha',
  abbreviation: 'AA',
  supported_content_types: ['text'],
  supported_use_cases: ['research'],
});

describe('flux up', () => {
  test('works from a checkout with a space in its path', async () => {
    const copy = path.join(folder, 'check out');
    await mkdir(copy);
    for (const part of ['src', 'sdk', 'schema', 'resolvers', 'schemas', 'migrations', 'package.json']) {
      await cp(path.join(checkout, part), path.join(copy, part), { recursive: true });
    }
    await symlink(path.join(checkout, 'node_modules'), path.join(copy, 'node_modules'));
    const home = path.join(copy, '.flux');
    const ended = await withUp({ home, checkout: copy }, async () => {
      expect(await ready()).toBe(true);
      expect((await readRunFile(home)).workers).toHaveLength(1);
    });
    expect(ended.code).toBe(0);
  });

  test.runIf(canLendTheCheckout)('works as an ordinary user', async () => {
    const own = await temporaryFolder('nobody', nobody);
    const home = path.join(own.folder, 'home');
    try {
      const ended = await withUp({ home, user: nobody, env: { HOME: own.folder } }, async () => {
        expect(await ready()).toBe(true);
        const status = await readFile(`/proc/${String(await postmasterPid(home))}/status`, 'utf8');
        expect(status).toMatch(/^Uid:\s+65534/m);
      });
      expect(ended.code).toBe(0);
    } finally {
      await own.remove();
    }
  });

  test.runIf(isRoot)(
    'works as root, whose server runs as another user, also when FLUX_HOME is closed to that',
    async () => {
      await chmod(folder, 0o700);
      const home = path.join(folder, 'home');
      let data = '';
      const ended = await withUp({ home }, async () => {
        expect(await ready()).toBe(true);
        const cluster = JSON.parse(await readFile(path.join(home, 'postgres', 'cluster.json'), 'utf8')) as {
          dataFolder: string;
        };
        data = cluster.dataFolder;
        expect(path.isAbsolute(data)).toBe(true);
        expect((await stat(data)).uid).not.toBe(0);
        expect((await stat(data)).mode & 0o777).toBe(0o700);
      });
      expect(ended.code).toBe(0);
      await rm(path.dirname(data), { recursive: true });
    },
  );

  test.runIf(canLendTheCheckout)(
    'works as root over data of an ordinary user, and leaves them to that user',
    async () => {
      const own = await temporaryFolder('nobody', nobody);
      const home = path.join(own.folder, 'home');
      try {
        const asOwner = { home, user: nobody, env: { HOME: own.folder } };
        await withUp(asOwner, () => Promise.resolve());
        expect(await readdir(path.join(home, 'work'))).toEqual([]);
        await withUp({ home }, async () => {
          const status = await readFile(`/proc/${String(await postmasterPid(home))}/status`, 'utf8');
          expect(status).toMatch(/^Uid:\s+65534/m);
        });
        // What root's processes left would be in the owner's way.
        expect(await readdir(path.join(home, 'work'))).toEqual([]);
        expect((await withUp(asOwner, () => Promise.resolve())).code).toBe(0);
      } finally {
        await own.remove();
      }
    },
  );
});

describe('with DATABASE_URL', () => {
  const key = 'cd'.repeat(32);
  const { serverUrl } = inject('fluxServer');

  const urlOf = (database: string): string => {
    const url = new URL(serverUrl);
    url.pathname = `/${database}`;
    return url.href;
  };

  async function withServer<T>(use: (server: Connection) => Promise<T>): Promise<T> {
    const server = await connect({ url: serverUrl, applicationName: 'flux tests' });
    try {
      return await use(server);
    } finally {
      await server.end();
    }
  }

  test('the same commands use that server, and embed nothing', async () => {
    const database = `e2e_${randomBytes(4).toString('hex')}`;
    const home = path.join(folder, 'home');
    const env = { DATABASE_URL: urlOf(database), FLUX_CONTEXT_KEY: key, FLUX_DATA_KEY: key };
    await withServer((server) => server.query(sql`create database ${ident(database)}`));
    try {
      const file = path.join(folder, 'alpha.json');
      await writeFile(file, manifest);
      expect(await flux(['agencies', 'add', file], { home, env })).toMatchObject({ code: 1 });
      expect(await flux(['migrate', '--json'], { home, env })).toMatchObject({ code: 0 });
      expect(JSON.parse((await flux(['migrate', '--json'], { home, env })).stdout)).toEqual({ applied: [] });
      expect(await flux(['agencies', 'add', file], { home, env })).toMatchObject({ code: 0 });
      expect(await flux(['doctor'], { home, env: { ...env, FLUX_PORT: String(port) } })).toMatchObject({ code: 0 });

      const ended = await withUp({ home, env }, async () => {
        expect(await ready()).toBe(true);
        expect(await flux(['pipelines', 'list', '--agency', 'alpha', '--json'], { home, env })).toMatchObject({
          code: 0,
          stdout: '[]\n',
        });
        await expect(stat(path.join(home, 'postgres'))).rejects.toThrow();
      });
      expect(ended.code).toBe(0);

      // The two services alone, as a container runs them.
      const api = startFlux(['serve'], { home, env: { ...env, FLUX_PORT: String(port) } });
      await api.says(/API is ready/);
      expect(await ready()).toBe(true);
      const worker = startFlux(['worker'], { home, env });
      await worker.says(/worker is ready/);
      for (const service of [api, worker]) {
        service.kill('SIGTERM');
        expect(await service.ended).toMatchObject({ code: 0 });
      }
    } finally {
      await withServer((server) => dropDatabase(server, database));
    }
  });

  test('a server that does not answer is said, with its address and without its password', async () => {
    const closed = await freePort();
    const env = {
      DATABASE_URL: `postgres://someone:topsecret@127.0.0.1:${String(closed)}/flux`,
      FLUX_PORT: String(port),
    };
    for (const command of [['up'], ['migrate'], ['agencies', 'list'], ['serve'], ['worker']]) {
      const { code, stderr, stdout } = await flux(command, { home: path.join(folder, 'home'), env });
      expect(code, command.join(' ')).toBe(4);
      expect(stderr).toContain(`UNAVAILABLE: No PostgreSQL answers at 127.0.0.1:${String(closed)}`);
      expect(stderr + stdout).not.toContain('topsecret');
    }
  });

  test('a missing database and a refused login are told apart', async () => {
    const missing = await flux(['migrate'], {
      home: path.join(folder, 'home'),
      env: { DATABASE_URL: urlOf('there_is_none') },
    });
    expect(missing).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('has no database there_is_none') as string,
    });
    const url = new URL(serverUrl);
    url.username = 'nobody_knows';
    url.password = 'wrong';
    const refused = await flux(['up'], {
      home: path.join(folder, 'home'),
      env: { DATABASE_URL: url.href, FLUX_PORT: String(port) },
    });
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('refused the login nobody_knows') as string,
    });
  });
});

async function isOpen(folder: string): Promise<boolean> {
  if (((await stat(folder)).mode & 0o001) === 0) return false;
  return folder === path.dirname(folder) || isOpen(path.dirname(folder));
}
