/** Requests that never reach a resolver are told of, whatever carried them, with whose they were where that is known. */
import { beforeEach, describe, expect, it } from 'vitest';

import { usualGateLimits } from '../../src/server/operation-gate.ts';
import { createTestIssuer } from '../support/tokens.ts';
import { openEvents } from './event-wire.ts';
import { nested } from './hostile-corpus.ts';
import { askRest } from './rest-wire.ts';
import { serveSchema } from './serve.ts';
import { testSchema } from './test-schema.ts';
import { connectWire, openWire, runOverWire } from './wire.ts';

const api = serveSchema(testSchema, { environment: 'production' });
const crowded = serveSchema(testSchema, { gateLimits: { ...usualGateLimits, burst: 2, ratePerSecond: 0.001 } });
beforeEach(() => void api.refused.splice(0));

const ada = { agency: 'nasa', subject: 'ada@example.gov' };
const refusedDocuments: [why: string, query: string, code: string][] = [
  ['an unknown field', '{ nowhere }', 'INVALID_INPUT'],
  ['no GraphQL', '{{{', 'INVALID_INPUT'],
  ['introspection in production', '{ __schema { types { name } } }', 'INVALID_INPUT'],
  ['too deep', `{ loop ${'{ loop '.repeat(12)}{ text }${' }'.repeat(12)} }`, 'LIMIT_EXCEEDED'],
];

describe.each(refusedDocuments)('a document that is refused (%s)', (_why, query, code) => {
  it('over HTTP', async () => {
    await api.ask({ query });
    expect(api.refused).toMatchObject([{ ...ada, code }]);
  });

  it('over WebSocket', async () => {
    const wire = await connectWire(api.url, await api.token());
    expect((await runOverWire(wire, '1', { query })).at(-1)?.type).toBe('error');
    expect(api.refused).toMatchObject([{ ...ada, code }]);
    await wire.close();
  });

  it('as an event stream', async () => {
    const stream = await openEvents(api.url, await api.token(), { query });
    while (await stream.next());
    expect(api.refused).toMatchObject([{ ...ada, code }]);
  });
});

describe('a token that is refused', () => {
  const claims = [
    ['has expired', { iat: 1_700_000_000, exp: 1_700_000_600 }],
    ['is for another audience', { aud: 'elsewhere' }],
    ['names no role', { role: 'king' }],
    ['lives too long', { exp: Math.floor(Date.now() / 1000) + 90_000 }],
  ] as const;

  it.each(claims)('is told of when its issuer has signed it: it %s', async (_why, claim) => {
    const authorization = `Bearer ${await api.token(claim)}`;
    expect((await api.ask({ query: '{ loop { text } }' }, { authorization })).status).toBe(401);
    expect(api.refused).toMatchObject([{ ...ada, code: 'UNAUTHENTICATED' }]);
    const wire = await openWire(api.url);
    wire.send({ type: 'connection_init', payload: { authorization } });
    expect((await wire.closed).code).toBe(4403);
    expect(api.refused).toHaveLength(2);
    const viewer = { method: 'GET', path: '/viewer' } as const;
    expect((await askRest(api.url, authorization.slice('Bearer '.length), viewer)).status).toBe(401);
    expect(api.refused).toHaveLength(3);
    expect(api.refused.at(-1)).toMatchObject({ ...ada, code: 'UNAUTHENTICATED' });
  });

  it('names nobody when anybody may have written it', async () => {
    const stranger = await createTestIssuer(api.issuer.issuer);
    const other = await createTestIssuer('https://other.example.gov');
    for (const token of [
      await stranger.sign({ exp: 1 }),
      await other.sign(),
      await api.token({ agency: 'usgs' }),
      'x.y.z',
    ]) {
      expect((await api.ask({ query: '{ a }' }, { authorization: `Bearer ${token}` })).status).toBe(401);
      expect((await askRest(api.url, token, { method: 'GET', path: '/viewer' })).status).toBe(401);
    }
    expect(api.refused).toEqual([]);
  });
});

describe('a request to REST that is refused is told of', () => {
  it.each<[string, { method?: 'GET' | 'POST'; path: string; body?: string }, string]>([
    ['an unknown parameter', { path: '/numbers?offset=1' }, 'INVALID_INPUT'],
    ['a value of another type', { path: '/numbers?first=many' }, 'INVALID_INPUT'],
    ['too large a page', { path: '/numbers?first=201' }, 'LIMIT_EXCEEDED'],
    ['too deep a body', { method: 'POST', path: '/attempt', body: JSON.stringify(nested(41)) }, 'LIMIT_EXCEEDED'],
    ['too large a body', { method: 'POST', path: '/attempt', body: `"${'x'.repeat(120_000)}"` }, 'LIMIT_EXCEEDED'],
    ['half a body', { method: 'POST', path: '/attempt', body: '{"code":' }, 'INVALID_INPUT'],
    ['no such resource', { path: '/nowhere' }, 'NOT_FOUND'],
  ])('%s', async (_why, { method = 'GET', ...request }, code) => {
    const { body } = await askRest(api.url, await api.token(), { method, ...request });
    expect(body).toMatchObject({ code });
    expect(api.refused).toMatchObject([{ ...ada, code }]);
  });

  it('but not what its resolver refused, which is told where it was refused', async () => {
    const token = await api.token();
    const { body } = await askRest(api.url, token, { method: 'GET', path: '/failing/NOT_FOUND' });
    expect(body).toMatchObject({ code: 'NOT_FOUND' });
    expect(api.refused).toEqual([]);
  });
});

it.each(['/v1/docs', '/v1/rest/openapi.json'])('in production %s is for who has a good token', async (path) => {
  const get = async (token?: string) =>
    (await fetch(`${api.url}${path}`, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }))
      .status;
  expect(await get()).toBe(401);
  expect(await get('x')).toBe(401);
  expect(await get(await api.token({ exp: 1, iat: 0 }))).toBe(401);
  expect(await get(await api.token({ role: 'viewer' }))).toBe(200);
  const anonymous = await fetch(`${api.url}${path}`);
  expect(await anonymous.json()).toMatchObject({ code: 'UNAUTHENTICATED' });
  expect((await fetch(`${crowded.url}${path}`)).status).toBe(200);
});

it('a body that is no GraphQL request is told of', async () => {
  await api.ask('{"query": ');
  await api.ask({ query: 'x'.repeat(120_000) });
  expect(api.refused.map(({ code }) => code)).toEqual(['INVALID_INPUT', 'LIMIT_EXCEEDED']);
});

it('an operation that finds no room is told of, whatever carried it', async () => {
  const query = '{ loop { text } }';
  for (let i = 0; i < 2; i += 1) await crowded.ask({ query });
  expect(crowded.refused).toEqual([]);
  expect((await crowded.ask({ query })).status).toBe(429);
  const stream = await openEvents(crowded.url, await crowded.token(), { query });
  while (await stream.next());
  const wire = await connectWire(crowded.url, await crowded.token());
  await runOverWire(wire, '1', { query });
  await wire.close();
  const viewer = { method: 'GET', path: '/viewer' } as const;
  expect((await askRest(crowded.url, await crowded.token(), viewer)).status).toBe(429);
  expect(crowded.refused).toMatchObject(Array.from({ length: 4 }, () => ({ ...ada, code: 'LIMIT_EXCEEDED' })));
});
