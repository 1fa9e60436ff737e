import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { exportJWK, exportSPKI, generateKeyPair, importJWK, type JWK } from 'jose';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';

import { createAuthenticator } from '../../src/auth/authenticator.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { createIssuerRegistry } from '../../src/domain/issuer-registry.ts';
import { addIssuer, listIssuers, type ManageIssuers, removeIssuer } from '../../src/domain/manage-issuers.ts';
import { graphqlPath } from '../../src/server/start-server.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { auditBodies } from '../support/audit.ts';
import { useDatabase } from '../support/database.ts';
import { fetchFromProviders, type IdentityProvider, startIdentityProvider } from '../support/identity-provider.ts';
import { createTestIssuer, testAudience } from '../support/tokens.ts';
import type { Answer } from './serve.ts';
import { openEvents, runOverEvents } from './event-wire.ts';
import { askRest, type RestAnswer, restRequest } from './rest-wire.ts';
import { connectWire, openWire, runOverWire } from './wire.ts';

/**
 * Two agencies, each with an OpenID provider of its own (oidc-provider on loopback), registered as the platform operator does it. The
 * API runs as in production; only the TLS in front of the providers is left out.
 */
const database = useDatabase();
let nasa: IdentityProvider;
let noaa: IdentityProvider;
let api: ApiServer;
let manage: ManageIssuers;
const clock = { offset: 0 };
const reasons: string[] = [];

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  [nasa, noaa] = await Promise.all([startIdentityProvider('ES256'), startIdentityProvider('RS256')]);
  manage = {
    adminUrl: database.adminUrl,
    contextKey: database.contextKey,
    environment: 'production',
    actor: 'operator:test',
  };
  await register(nasa, 'nasa');
  await register(noaa, 'noaa');
  api = await startApiServer(database, {
    authenticator: createAuthenticator({
      environment: 'production',
      issuers: [],
      audience: testAudience,
      registry: createIssuerRegistry({ pool: database.apiPool(), seal: sealKey(database.contextKey) }),
      fetch: fetchFromProviders,
      now: () => Date.now() + clock.offset,
      onRefused: (reason) => reasons.push(reason),
    }),
  });
});
afterAll(() => Promise.all([api?.stop(), nasa?.stop(), noaa?.stop()]));

const register = (provider: IdentityProvider, ...agencies: string[]) =>
  addIssuer(manage, { issuer: provider.issuer, jwksUri: provider.jwksUri, jwks: null, audience: null, agencies });

const whoAmI = { query: '{ viewer { agency role clearance subject } }' };

async function ask(token: string, headers: Record<string, string> = {}, body: unknown = whoAmI) {
  const response = await fetch(`${api.url}${graphqlPath}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, ...headers },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Answer };
}

const askWho = (token: string, headers: Record<string, string> = {}) =>
  askRest(api.url, token, { method: 'GET', path: '/viewer' }, { headers });

/** How the four transports take a token: HTTP's status, the socket's close code or `ack`, the stream's status, and REST's. */
async function taken(token: string): Promise<[http: number, socket: number | 'ack', stream: number, rest: number]> {
  const wire = await openWire(api.url);
  wire.send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } });
  const socket = await Promise.race([
    wire.next().then(() => 'ack' as const),
    wire.closed.then(({ code }) => code),
  ]).catch(async () => (await wire.closed).code);
  await wire.close();
  const stream = await openEvents(api.url, token, whoAmI).then(
    ({ response, leave }) => {
      leave();
      return response.status;
    },
    () => 0, // no header can carry it
  );
  const http = await ask(token).then(
    ({ status }) => status,
    () => 0,
  );
  const rest = await askWho(token).then(
    ({ status }) => status,
    () => 0,
  );
  return [http, socket, stream, rest];
}

const seconds = (): number => Math.floor((Date.now() + clock.offset) / 1_000);
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('a token of the agency’s provider', () => {
  it.each(['admin', 'operator', 'analyzer', 'viewer'])('of the role %s is taken by every transport', async (role) => {
    const token = await nasa.token({ agency: 'nasa', role, clearance: 'CUI' });
    const viewer = { agency: 'nasa', role: role.toUpperCase(), clearance: 'CUI', subject: 'flux-client' };
    expect((await ask(token)).body).toEqual({ data: { viewer } });
    const wire = await connectWire(api.url, token);
    expect((await runOverWire(wire, '1', whoAmI))[0]?.payload).toEqual({ data: { viewer } });
    await wire.close();
    expect((await runOverEvents(api.url, token, whoAmI))[0]?.data).toEqual({ data: { viewer } });
    expect((await askWho(token)).body).toMatchObject(viewer);
  });

  it('of the other agency’s provider speaks for the other agency', async () => {
    const { body } = await ask(await noaa.token({ agency: 'noaa', role: 'viewer' }));
    expect(body.data?.['viewer']).toMatchObject({ agency: 'noaa', clearance: 'U' });
  });

  it('is taken after the provider has gone over to a new key, without a restart, and one of the old key no more', async () => {
    const before = await nasa.token({ agency: 'nasa', role: 'viewer' });
    expect((await ask(before)).status).toBe(200);
    await nasa.rotate();
    onTestFinished(() => void (clock.offset = 0));
    clock.offset += 31_000; // past the cool-down
    const after = await nasa.sign({ iat: seconds(), exp: seconds() + 600 });
    expect(await taken(after)).toEqual([200, 'ack', 200, 200]);
    expect(await taken(before)).toEqual([401, 4403, 401, 401]);
  });

  it('costs the provider one request for its keys, and a thousand invented key ids cost one more', async () => {
    const token = await noaa.token({ agency: 'noaa', role: 'viewer' });
    await ask(token);
    const asked = noaa.keyRequests();
    for (let i = 0; i < 1_000; i += 100) {
      await Promise.all(
        Array.from({ length: 100 }, async (_, n) =>
          expect((await ask(await noaa.sign({ agency: 'noaa' }, { kid: `invented-${String(i + n)}` }))).status).toBe(
            401,
          ),
        ),
      );
    }
    expect(noaa.keyRequests() - asked).toBeLessThanOrEqual(1);
  });
});

describe('refused by every transport is', () => {
  let attacker: { key: JWK; secret: CryptoKey; url: string; requests: () => number };
  beforeAll(async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
    let requests = 0;
    const server = createServer((_request, response) => {
      requests += 1;
      response.end(JSON.stringify({ keys: [{ ...attacker.key, kid: 'evil', alg: 'ES256' }] }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/jwks`;
    attacker = { key: await exportJWK(publicKey), secret: privateKey, url, requests: () => requests };
    return () => new Promise<void>((resolve) => server.close(() => resolve()));
  });

  /** Signed by the attacker's own key, with every claim as the real ones have it. */
  const forged = async (header: Record<string, unknown>, claims: Record<string, unknown> = {}): Promise<string> => {
    const { SignJWT } = await import('jose');
    const now = seconds();
    const all = {
      iss: nasa.issuer,
      aud: testAudience,
      sub: 'mallory',
      jti: crypto.randomUUID(),
      iat: now,
      exp: now + 600,
      agency: 'nasa',
      role: 'admin',
      ...claims,
    };
    return new SignJWT(all).setProtectedHeader({ alg: 'ES256', ...header }).sign(attacker.secret);
  };
  const real = () => nasa.token({ agency: 'nasa', role: 'viewer' });
  const claimsOf = async () => (await real()).split('.')[1] as string;
  const payload = (claims: Record<string, unknown> = {}): string =>
    JSON.stringify({
      iss: nasa.issuer,
      aud: testAudience,
      sub: 'x',
      jti: 'x',
      iat: seconds(),
      exp: seconds() + 60,
      agency: 'nasa',
      role: 'viewer',
      ...claims,
    });
  const macOf = async (key: string | Buffer): Promise<string> => {
    const text = `${encode({ alg: 'HS256', kid: nasa.publicKey().kid })}.${await claimsOf()}`;
    return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`;
  };

  const cases: [what: string, token: () => Promise<string> | string][] = [
    ['one of another key under the real key’s id', () => forged({ kid: nasa.publicKey().kid })],
    ['one of another key without an id', () => forged({})],
    [
      'one whose claims were changed after signing',
      async () => {
        const [header, , signature] = (await real()).split('.');
        return `${header}.${encode({ ...JSON.parse(payload()), role: 'admin' })}.${signature}`;
      },
    ],
    ['an expired one', () => nasa.sign({ iat: seconds() - 700, exp: seconds() - 1 })],
    ['one that is not valid yet', () => nasa.sign({ nbf: seconds() + 120 })],
    ['one from the future', () => nasa.sign({ iat: seconds() + 120, exp: seconds() + 600 })],
    ['one for another audience', () => nasa.sign({ aud: 'https://elsewhere.example.gov' })],
    [
      'one of an issuer that nobody trusts',
      async () => (await createTestIssuer('https://login.example.com')).sign({ agency: 'nasa' }),
    ],
    ['one whose issuer is written a little differently', () => nasa.sign({ iss: `${nasa.issuer}/` })],
    ['alg none', async () => `${encode({ alg: 'none' })}.${await claimsOf()}.`],
    ['alg none with a signature', async () => `${encode({ alg: 'none' })}.${await claimsOf()}.AAAA`],
    ['alg NoNe', async () => `${encode({ alg: 'NoNe' })}.${await claimsOf()}.AAAA`],
    ['an HMAC keyed by the public key as JWK', () => macOf(JSON.stringify(nasa.publicKey()))],
    [
      'an HMAC keyed by the public key as PEM',
      async () =>
        macOf(await exportSPKI((await importJWK(nasa.publicKey(), 'ES256', { extractable: true })) as CryptoKey)),
    ],
    ['an HMAC keyed by nothing', () => macOf('')],
    ['a claim given twice', () => nasa.signText(payload().replace('"role"', '"role":"admin","role"'))],
    [
      'a claim given twice, once escaped',
      () => nasa.signText(payload().replace('"role"', '"r\\u006fle":"admin","role"')),
    ],
    ['a payload that is a list', () => nasa.signText(`[${payload()}]`)],
    ['a payload that is not JSON', () => nasa.signText('agency=nasa&role=admin')],
    ['padding', async () => `${await real()}=`],
    ['a space inside', async () => (await real()).replace(/\.(.{8})/, '.$1 ')],
    ['a fourth part', async () => `${await real()}.AAAA`],
    ['a key that its header brings', () => forged({ jwk: attacker.key })],
    ['a key that its header points to (jku)', () => forged({ jku: attacker.url, kid: 'evil' })],
    ['a certificate that its header points to (x5u)', () => forged({ x5u: attacker.url, kid: 'evil' })],
    ['a certificate that its header brings (x5c)', () => forged({ x5c: ['MIIB'], kid: 'evil' })],
    ['a key id that is a path', () => forged({ kid: '../../../../etc/passwd' })],
    ['a key id that is an address', () => forged({ kid: attacker.url })],
    ['a key id that is SQL', () => forged({ kid: "' union select 'k" })],
    ['a critical extension', () => nasa.signText(payload(), { crit: ['urn:x'], 'urn:x': 1 })],
    ['one that lives too long', () => nasa.sign({ exp: seconds() + 3_700 })],
    ['one that ends before it begins', () => nasa.sign({ iat: seconds() + 20, exp: seconds() + 10 })],
    ...['iss', 'aud', 'sub', 'agency', 'role', 'exp', 'iat', 'jti'].map((name): [string, () => Promise<string>] => [
      `one without ${name}`,
      () => nasa.sign({ [name]: undefined }),
    ]),
    ['an unknown role', () => nasa.token({ agency: 'nasa', role: 'root' })],
    ['a list of roles', () => nasa.token({ agency: 'nasa', role: ['admin', 'viewer'] })],
    ['a list of agencies', () => nasa.token({ agency: ['nasa', 'noaa'], role: 'viewer' })],
    ['an agency that is no slug', () => nasa.token({ agency: 'NASA', role: 'viewer' })],
    ['an agency with the seal’s separator', () => nasa.token({ agency: 'nasa|admin', role: 'viewer' })],
    ['an unknown clearance', () => nasa.token({ agency: 'nasa', role: 'viewer', clearance: 'COSMIC' })],
    ['another agency’s claim, which its provider may not make', () => nasa.token({ agency: 'noaa', role: 'admin' })],
    ['the same the other way round', () => noaa.token({ agency: 'nasa', role: 'admin' })],
    ['an agency that does not exist', () => nasa.token({ agency: 'atlantis', role: 'admin' })],
    ['nothing', () => ''],
    ['nonsense', () => 'nonsense'],
  ];

  it.each(cases)('%s', async (_what, token) => {
    const text = await token();
    reasons.length = 0;
    const [http, socket, stream, rest] = await taken(text);
    expect([401, 0]).toContain(http);
    expect(socket).toBe(4403);
    expect([401, 0]).toContain(stream);
    expect([401, 0]).toContain(rest);
    expect(attacker.requests()).toBe(0);
    if (http === 0) return;
    const { body, problem } = { ...(await ask(text)), problem: await askWho(text) };
    // Whatever is wrong, the caller learns the same.
    expect(body.errors).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }]);
    expect(body.errors?.[0]?.message).toMatch(/^(The token is not valid\.|Send the header)/);
    expect(problem.body).toMatchObject({ code: 'UNAUTHENTICATED', detail: body.errors?.[0]?.message });
    expect(problem.headers.get('www-authenticate')).toBe('Bearer realm="flux"');
    expect(JSON.stringify(body) + problem.text).not.toMatch(/signature|issuer is|role is|slug|expired|kid/);
  });

  it('a good one in the address, in a cookie, or in another header', async () => {
    const token = await real();
    const post = (path: string, headers: Record<string, string>) =>
      fetch(`${api.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(whoAmI),
      });
    expect((await post(`${graphqlPath}?access_token=${token}`, {})).status).toBe(401);
    expect((await post(graphqlPath, { cookie: `token=${token}` })).status).toBe(401);
    expect((await post(graphqlPath, { 'x-authorization': `Bearer ${token}` })).status).toBe(401);
    const get = (path: string, headers: Record<string, string> = {}) =>
      fetch(`${api.url}/v1/rest${path}`, { headers }).then(({ status }) => status);
    expect(await get(`/viewer?access_token=${token}`)).toBe(401);
    expect(await get('/viewer', { cookie: `token=${token}` })).toBe(401);
    expect(await get('/viewer', { 'x-authorization': `Bearer ${token}` })).toBe(401);
  });
});

describe('the registry of issuers', () => {
  it('counts within seconds, without a restart, for each agency by itself', async () => {
    const third = await startIdentityProvider('EdDSA');
    onTestFinished(() => third.stop());
    const forNasa = await third.token({ agency: 'nasa', role: 'viewer' });
    const forNoaa = await third.token({ agency: 'noaa', role: 'viewer' });
    expect((await ask(forNasa)).status).toBe(401);
    const becomes = (token: string, status: number) =>
      vi.waitFor(async () => expect((await ask(token)).status).toBe(status), { timeout: 10_000, interval: 100 });
    await register(third, 'nasa');
    await becomes(forNasa, 200);
    expect((await ask(forNoaa)).status).toBe(401);
    await register(third, 'nasa', 'noaa');
    await becomes(forNoaa, 200);
    await removeIssuer(manage, { issuer: third.issuer, agencies: ['nasa'] });
    await becomes(forNasa, 401);
    expect((await ask(forNoaa)).status).toBe(200);
    await removeIssuer(manage, { issuer: third.issuer, agencies: null });
    await becomes(forNoaa, 401);
    const entries = (await auditBodies(database, 'noaa')).filter(({ resourceId }) => resourceId === third.issuer);
    expect(entries.map(({ action, actor }) => [action, actor])).toEqual([
      ['issuer.add', 'operator:test'],
      ['issuer.remove', 'operator:test'],
    ]);
  });

  it('takes keys that are given, and replaces what it knew', async () => {
    const first = await createTestIssuer('https://given.example.gov');
    const second = await createTestIssuer('https://given.example.gov');
    const given = { issuer: first.issuer, jwksUri: null, audience: 'other-api', agencies: ['nasa'] };
    await addIssuer(manage, { ...given, jwks: first.jwks });
    const becomes = async (token: string, status: number) =>
      vi.waitFor(async () => expect((await ask(token)).status).toBe(status), { timeout: 10_000, interval: 100 });
    const token = await first.sign({ aud: 'other-api' });
    await becomes(token, 200);
    expect((await ask(await first.sign({ aud: testAudience }))).status).toBe(401);
    await addIssuer(manage, { ...given, jwks: second.jwks });
    await becomes(token, 401);
    expect((await ask(await second.sign({ aud: 'other-api' }))).status).toBe(200);
    expect((await listIssuers(database.adminUrl)).filter(({ issuer }) => issuer === first.issuer)).toMatchObject([
      { agency: 'nasa', audience: 'other-api', jwksUri: null, addedBy: 'operator:test' },
    ]);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['no agency', { agencies: [] }, 'INVALID_INPUT'],
    ['an agency that does not exist', { agencies: ['nasa', 'atlantis'] }, 'NOT_FOUND'],
    ['no keys', { jwksUri: null }, 'INVALID_INPUT'],
    ['two kinds of keys', { jwks: { keys: [] } }, 'INVALID_INPUT'],
    ['keys by http', { jwksUri: 'http://login.example.gov/jwks' }, 'CONFIG_INVALID'],
    ['keys at no address', { jwksUri: 'login' }, 'CONFIG_INVALID'],
    ['a symmetric key', { jwksUri: null, jwks: { keys: [{ kty: 'oct', k: 'AA' }] } }, 'CONFIG_INVALID'],
    ['no name', { issuer: ' ' }, 'INVALID_INPUT'],
  ])('refuses %s, and changes nothing', async (_what, change, code) => {
    const before = await listIssuers(database.adminUrl);
    const added = {
      issuer: 'https://x.example.gov',
      jwksUri: 'https://x.example.gov/jwks',
      jwks: null,
      audience: null,
    };
    await expect(addIssuer(manage, { ...added, agencies: ['nasa'], ...change })).rejects.toMatchObject({
      code,
    });
    expect(await listIssuers(database.adminUrl)).toEqual(before);
  });

  it('refuses to remove what it does not know', async () => {
    await expect(removeIssuer(manage, { issuer: 'https://unknown', agencies: null })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(removeIssuer(manage, { issuer: nasa.issuer, agencies: ['nasa', 'noaa'] })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect((await listIssuers(database.adminUrl)).some(({ issuer }) => issuer === nasa.issuer)).toBe(true);
  });

  it('looks up so many unknown agencies a second and no more, whoever asks, and serves those it knows meanwhile', async () => {
    const registry = createIssuerRegistry({
      pool: database.apiPool(),
      seal: sealKey(database.contextKey),
      now: () => 1_000,
    });
    expect((await registry('nasa')).length).toBeGreaterThan(0);
    const strangers = await Promise.allSettled(
      Array.from({ length: 200 }, (_, n) => registry(`stranger-${String(n)}`)),
    );
    expect(strangers.filter(({ status }) => status === 'fulfilled')).toHaveLength(49);
    expect((await registry('nasa')).length).toBeGreaterThan(0);
  });
});

describe('what a client sends', () => {
  it('never changes who it is: not by header, connection parameter, variable or path', async () => {
    const token = await nasa.token({ agency: 'nasa', role: 'viewer', clearance: 'U' });
    const viewer = { agency: 'nasa', role: 'VIEWER', clearance: 'U', subject: 'flux-client' };
    const claims = {
      agency: 'noaa',
      role: 'admin',
      clearance: 'SCI',
      sub: 'root',
      'x-agency-id': 'noaa',
      'x-agency': 'noaa',
      'x-role': 'admin',
      'x-clearance': 'SCI',
      'x-user': 'root',
      'x-forwarded-user': 'root',
      'x-forwarded-for': '203.0.113.9',
      forwarded: 'for=203.0.113.9',
      'x-http-method-override': 'PUT',
    };
    expect((await ask(token, claims)).body).toEqual({ data: { viewer } });
    expect((await askWho(token, claims)).body).toMatchObject(viewer);
    const inPath = { method: 'GET', path: '/viewer?agency=noaa&role=admin' } as const;
    expect(await askRest(api.url, token, inPath)).toMatchObject({ status: 400, body: { code: 'INVALID_INPUT' } });
    const body = { ...whoAmI, ...claims, variables: claims, extensions: { principal: claims } };
    expect((await ask(token, {}, body)).body).toEqual({ data: { viewer } });
    const wire = await openWire(api.url, { headers: claims });
    wire.send({ type: 'connection_init', payload: { authorization: `Bearer ${token}`, ...claims, principal: claims } });
    expect((await wire.next()).type).toBe('connection_ack');
    expect((await runOverWire(wire, '1', body))[0]?.payload).toEqual({ data: { viewer } });
    wire.send({ type: 'ping', payload: claims });
    expect(await wire.next()).toEqual({ type: 'pong', payload: claims });
    expect((await runOverWire(wire, '2', body))[0]?.payload).toEqual({ data: { viewer } });
    await wire.close();
    const events = await openEvents(api.url, token, body, claims);
    expect((await events.next())?.data).toEqual({ data: { viewer } });
  });

  it('of another agency in an input is refused alike, whether that agency exists or not', async () => {
    const token = await nasa.token({ agency: 'nasa', role: 'operator' });
    const answers = [];
    const restAnswers: RestAnswer[] = [];
    for (const agency of ['noaa', 'atlantis']) {
      const { body } = await ask(
        token,
        {},
        {
          query: `mutation($payload: JSON!) { startRun(input: { payload: $payload }) { __typename ... on Error { code message } } }`,
          variables: { payload: { agency, content_type: 'text', use_case: 'research', stage: 'full', source: 'x' } },
        },
      );
      answers.push(JSON.stringify(body));
      const payload = { agency, content_type: 'text', use_case: 'research', stage: 'full', source: 'x' };
      const started = restRequest('startRun', { input: { payload } });
      restAnswers.push(await askRest(api.url, token, started));
      expect((await askRest(api.url, token, restRequest('agency', { slug: agency }))).status).toBe(404);
      const { body: read } = await ask(token, {}, { query: `{ agency(slug: "${agency}") { slug } }` });
      expect(read).toEqual({ data: { agency: null } });
    }
    expect(answers[0]).toBe(answers[1]);
    expect(answers[0]).toContain('DATA_ISOLATION');
    const [one, other] = restAnswers.map(
      ({ status, body: { status: _status, errorId: _id, traceId: _trace, ...said } }) => ({
        status,
        said,
      }),
    );
    expect(one).toEqual(other);
    expect(one).toMatchObject({ status: 403, said: { code: 'DATA_ISOLATION' } });
  });
});
