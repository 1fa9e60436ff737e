/** How the server gives out the dashboard: what a browser may keep and run, and who may sign in without a provider. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { principalOf } from '../support/api.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
const script = `console.log('${'flux '.repeat(400)}')`;
let folder: string;
let server: ApiServer;
let production: ApiServer;

async function build(page: string): Promise<void> {
  await mkdir(path.join(folder, 'dist', 'assets'), { recursive: true });
  await writeFile(path.join(folder, 'dist', 'assets', 'index-abc123.js'), script);
  await writeFile(path.join(folder, 'dist', 'index.html'), `<!doctype html><title>${page}</title>`);
}

beforeAll(async () => {
  await database.addAgency('nasa');
  folder = await mkdtemp(path.join(tmpdir(), 'flux-dashboard-'));
  await writeFile(path.join(folder, 'secret.txt'), 'not for the network');
  const dashboard = { folder: path.join(folder, 'dist') };
  const authenticator = { authenticate: () => Promise.resolve(principalOf('nasa')) };
  const providers = [{ issuer: 'https://login.example.gov/realm', clientId: 'flux' }];
  const sign = (claims: object): Promise<string> => Promise.resolve(JSON.stringify(claims));
  server = await startApiServer(database, {
    environment: 'development',
    authenticator,
    dashboard,
    signIn: { providers, development: { agencies: ['nasa'], sign } },
  });
  production = await startApiServer(database, { authenticator, dashboard, signIn: { providers } });
});
afterAll(async () => {
  await Promise.all([server.stop(), production.stop()]);
  await rm(folder, { recursive: true, force: true });
});

const page = (at: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(new URL(at, server.url), { headers: { accept: 'text/html,*/*;q=0.8', ...headers } });

/** `fetch` would tidy the path up before it sends it. */
function statusOfRawPath(raw: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    request({ port: new URL(server.url).port, host: '127.0.0.1', path: raw }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on('error', reject)
      .end();
  });
}

describe('the pages', () => {
  test('/ says what is where until the dashboard is built, and shows the newest build from then on', async () => {
    expect(await (await page('/')).text()).toContain('npm run build:dashboard');
    await build('first');
    expect(await (await page('/')).text()).toContain('<title>first</title>');
    await build('the second');
    expect(await (await page('/')).text()).toContain('<title>the second</title>');
  });

  test('every address of the dashboard is its page, which runs nothing but its own scripts', async () => {
    await build('page');
    for (const at of ['/', '/runs', '/runs/0198c0de-0000-7000-8000-000000000000?status=FAILED']) {
      const response = await page(at);
      expect([response.status, await response.text()]).toEqual([200, expect.stringContaining('<title>page')]);
      expect(response.headers.get('cache-control')).toBe('no-cache');
      const policy = response.headers.get('content-security-policy') ?? '';
      expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
      expect(policy).toContain("connect-src 'self' https://login.example.gov;");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toMatch(/unsafe|data:|\*/);
    }
  });

  test('an address of the API that does not exist is the API’s error, never the page', async () => {
    await build('page');
    for (const at of ['/v1/nothing', '/health/nothing', '/v1/rest/nothing']) {
      const response = await page(at);
      expect(response.status, at).toBe(404);
      expect(response.headers.get('content-type'), at).not.toContain('text/html');
    }
    expect((await fetch(new URL('/runs', server.url), { headers: { accept: 'application/json' } })).status).toBe(404);
  });

  test('assets are kept for a year, compressed where that is asked for, and nothing beside them is given out', async () => {
    await build('page');
    for (const encoding of ['gzip', 'identity']) {
      const response = await page('/assets/index-abc123.js', { 'accept-encoding': encoding });
      expect(await response.text()).toBe(script);
      expect(response.headers.get('content-encoding')).toBe(encoding === 'gzip' ? 'gzip' : null);
      expect(response.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      expect(response.headers.get('content-type')).toContain('text/javascript');
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    }
    for (const raw of [
      '/assets/../../secret.txt',
      '/assets/..%2f..%2fsecret.txt',
      '/assets/%2e%2e/%2e%2e/secret.txt',
    ]) {
      expect(await statusOfRawPath(raw), raw).toBe(404);
    }
  });
});

describe('sign-in', () => {
  const ask = (body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(new URL('/v1/sign-in/development', server.url), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  const pat = { agency: 'nasa', role: 'viewer', subject: 'pat@example.gov' };

  test('a developer picks a role, and what is asked for is what is signed', async () => {
    const ways = (await (await fetch(new URL('/v1/sign-in', server.url))).json()) as object;
    expect(ways).toMatchObject({
      development: { agencies: ['nasa'], roles: ['admin', 'operator', 'viewer', 'analyzer'] },
    });
    const response = await ask(pat);
    const { token } = (await response.json()) as { token: string };
    expect(JSON.parse(token)).toEqual({ ...pat, minutes: 60 });
    expect(response.headers.get('cache-control')).toBe('no-store');
  });

  test.each([
    ['a role that does not exist', { ...pat, role: 'root' }],
    ['no agency’s slug', { ...pat, agency: '../x' }],
    ['no subject', { ...pat, subject: '' }],
    ['nothing at all', null],
  ])('refuses %s', async (_what, body) => {
    expect((await ask(body)).status).toBe(400);
  });

  test('refuses a foreign page and a name that somebody made point here', async () => {
    expect((await ask(pat, { 'sec-fetch-site': 'cross-site' })).status).toBe(403);
    const status = await new Promise((resolve, reject) => {
      const sent = request(
        {
          port: new URL(server.url).port,
          host: '127.0.0.1',
          path: '/v1/sign-in/development',
          method: 'POST',
          headers: { host: 'evil.example:4000', 'content-type': 'application/json' },
        },
        (response) => {
          response.resume();
          resolve(response.statusCode);
        },
      ).on('error', reject);
      sent.end(JSON.stringify(pat));
    });
    expect(status).toBe(403);
  });

  test('in production only providers are offered', async () => {
    const ways = (await (await fetch(new URL('/v1/sign-in', production.url))).json()) as object;
    expect(ways).toEqual({
      providers: [{ issuer: 'https://login.example.gov/realm', clientId: 'flux' }],
      development: null,
    });
    const response = await fetch(new URL('/v1/sign-in/development', production.url), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(pat),
    });
    expect(response.status).toBe(404);
  });
});
