/** The commands of `flux` that need no running stack: usage, exit codes, tokens, documents, configuration. */
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { createAuthenticator } from '../../src/auth/authenticator.ts';
import { localIssuer } from '../../src/auth/local-issuer.ts';
import { flux, freePort } from '../support/flux.ts';

const samples = path.join(import.meta.dirname, '..', '..', 'schemas', 'v1', 'samples');

let folder: string;
let home: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux-commands-'));
  home = path.join(folder, 'home');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const contains = (text: string): string => expect.stringContaining(text) as string;

describe('exit codes', () => {
  test('0 for help, 2 for wrong usage', async () => {
    expect(await flux(['--help'], { home })).toMatchObject({ code: 0, stdout: contains('Usage: flux') });
    expect(await flux(['agencies', 'add', '--help'], { home })).toMatchObject({ code: 0 });
    expect(await flux(['fly'], { home })).toMatchObject({ code: 2, stderr: contains('unknown command') });
    expect(await flux(['token', '--agency', 'nasa'], { home })).toMatchObject({ code: 2 });
    expect(await flux(['token', '--agency', 'NASA', '--role', 'viewer', '--sub', 'x'], { home })).toMatchObject({
      code: 2,
    });
    expect(await flux(['up', '--workers', 'many'], { home })).toMatchObject({ code: 2 });
    expect(await flux(['runs', 'start', '--agency', 'nasa'], { home })).toMatchObject({
      code: 2,
      stderr: contains('--payload'),
    });
  });

  test('3 without a token, 4 when no API answers, and neither leaves a folder behind', async () => {
    const env = { FLUX_PORT: String(await freePort()) };
    expect(await flux(['runs', 'list'], { home, env })).toMatchObject({ code: 3, stderr: contains('UNAUTHENTICATED') });
    expect(await flux(['runs', 'list', '--token', 'x'], { home, env })).toMatchObject({
      code: 4,
      stderr: contains(`No Flux API answers at http://127.0.0.1:${env.FLUX_PORT}`),
    });
    expect(await flux(['agencies', 'list'], { home, env })).toMatchObject({ code: 4, stderr: contains('flux up') });
    await expect(stat(home)).rejects.toThrow();
  });

  test('a failure is JSON with --json', async () => {
    const { code, stderr } = await flux(['runs', 'list', '--json'], { home });
    expect(code).toBe(3);
    expect(JSON.parse(stderr)).toMatchObject({ error: { class: 'AUTHENTICATION', code: 'UNAUTHENTICATED' } });
  });
});

test('a command loads no client of Redis, which is four hundred modules, unless it looks at one', async () => {
  const tellsLoaded = path.join(folder, 'tells-loaded.mjs');
  await writeFile(
    tellsLoaded,
    `import { registerHooks } from 'node:module';
    registerHooks({ load: (url, context, next) => { process.stderr.write(url + '\\n'); return next(url, context); } });`,
  );
  const env = { NODE_OPTIONS: `--import=${pathToFileURL(tellsLoaded).href}` };
  const { code, stderr } = await flux(['runs', 'list'], { home, env });
  expect(code).toBe(3);
  expect(stderr).toContain('/src/cli/commands/runs.ts');
  expect(stderr).not.toContain('@redis/client');
});

describe('flux token', () => {
  const args = ['token', '--agency', 'nasa', '--role', 'analyzer', '--sub', 'user@example.gov', '--clearance', 'CUI'];

  test('signs what the local issuer’s API accepts', async () => {
    const { code, stdout } = await flux(args, { home });
    expect(code).toBe(0);
    const authenticator = createAuthenticator({
      environment: 'development',
      issuers: [],
      audience: 'flux',
      localIssuer: await localIssuer(home),
    });
    expect(await authenticator.authenticate(stdout.trim())).toMatchObject({
      agency: 'nasa',
      role: 'analyzer',
      subject: 'user@example.gov',
      clearance: 1,
    });
  });

  test('does not exist in production', async () => {
    const key = 'ef'.repeat(32);
    const env = { NODE_ENV: 'production', FLUX_CONTEXT_KEY: key, FLUX_DATA_KEY: key };
    expect(await flux(args, { home, env })).toMatchObject({ code: 3, stdout: '', stderr: contains('production') });
    await expect(stat(home)).rejects.toThrow();
  });
});

describe('flux validate', () => {
  test('knows every sample document for what it is', async () => {
    const entries = await readdir(samples, { recursive: true });
    // What a folder `data` holds is read by pipelines and is no document of Flux.
    const documents = entries.filter((name) => name.endsWith('.json') && !name.split(path.sep).includes('data'));
    const files = documents.map((name) => path.join(samples, name));
    const { code, stdout, stderr } = await flux(['validate', '--json', ...files], { home });
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const kinds = (JSON.parse(stdout) as { kind: string }[]).map(({ kind }) => kind);
    expect(new Set(kinds)).toEqual(new Set(['agency', 'connection', 'contract', 'pipeline']));
    expect(kinds).toHaveLength(files.length);
  });

  test('says every broken rule and where', async () => {
    const file = path.join(folder, 'agency.json');
    await writeFile(file, JSON.stringify({ slug: 'X', name: '', abbreviation: 'X' }));
    const { code, stderr } = await flux(['validate', file], { home });
    expect(code).toBe(1);
    for (const place of ['/slug', '/name', 'supported_content_types']) expect(stderr).toContain(place);
  });

  test('refuses what is no document, no JSON, or not there', async () => {
    const file = path.join(folder, 'thing.json');
    await writeFile(file, '{"colour":"blue"}');
    expect(await flux(['validate', file], { home })).toMatchObject({ code: 1, stderr: contains('--kind') });
    expect(await flux(['validate', '--kind', 'poem', file], { home })).toMatchObject({
      code: 1,
      stderr: contains('poem'),
    });
    await writeFile(file, '{');
    expect(await flux(['validate', file], { home })).toMatchObject({ code: 1, stderr: contains('INVALID_INPUT') });
    expect(await flux(['validate', path.join(folder, 'none')], { home })).toMatchObject({
      code: 1,
      stderr: contains('ENOENT'),
    });
  });
});

describe('flux config check', () => {
  test('shows what holds, without secrets', async () => {
    const env = { DATABASE_URL: 'postgres://admin:topsecret@db.example.gov/flux', FLUX_PROT: '1' };
    const { code, stdout } = await flux(['config', 'check', '--json'], { home, env });
    expect(code).toBe(0);
    expect(stdout).not.toContain('topsecret');
    expect(JSON.parse(stdout)).toMatchObject({
      environment: 'development',
      database: 'postgres://admin:***@db.example.gov/flux',
      keys: 'present',
      warnings: [expect.stringContaining('FLUX_PROT')],
    });
  });

  test('says every problem at once', async () => {
    const { code, stderr } = await flux(['config', 'check'], {
      home,
      env: { FLUX_PORT: 'x', FLUX_ISSUERS: '[', LOG_LEVEL: 'y' },
    });
    expect(code).toBe(1);
    for (const name of ['FLUX_PORT', 'FLUX_ISSUERS', 'LOG_LEVEL']) expect(stderr).toContain(name);
  });
});

test('flux doctor finds what is wrong here', async () => {
  const port = String(await freePort());
  expect(await flux(['doctor'], { home, env: { FLUX_PORT: port } })).toMatchObject({ code: 0, stdout: contains('ok') });
  const env = { DATABASE_URL: `postgres://x:y@127.0.0.1:${port}/flux`, FLUX_PORT: port };
  expect(await flux(['doctor'], { home, env })).toMatchObject({ code: 1, stdout: contains('WRONG') });
});
