import { once } from 'node:events';
import { connect } from 'node:net';

import { serverAudits } from 'graphql-http';
import { describe, expect, it } from 'vitest';

import { isFluxError } from '../../src/errors.ts';
import { graphqlPath, startServer } from '../../src/server/start-server.ts';
import { serveSchema, takenPort } from './serve.ts';
import { testSchema } from './test-schema.ts';

let databaseAnswers = true;
const api = serveSchema(testSchema, {
  readiness: { database: () => (databaseAnswers ? Promise.resolve() : Promise.reject(new Error('10.0.0.7 is away'))) },
});
const production = serveSchema(testSchema, { environment: 'production' });

describe('GraphQL over HTTP', () => {
  const audits = serverAudits({
    url: () => `${api.url}${graphqlPath}`,
    fetchFn: async (url: string, init: RequestInit = {}) =>
      fetch(url, { ...init, headers: { ...(init.headers as object), authorization: `Bearer ${await api.token()}` } }),
  });

  it('has 61 audits', () => {
    expect(audits).toHaveLength(61);
  });

  it.each(audits.map(({ id, name, fn }) => [id, name, fn] as const))('%s %s', async (_id, _name, run) => {
    const result = await run();
    expect(result.status === 'ok' ? 'ok' : `${result.status}: ${result.reason}`).toBe('ok');
  });

  it('answers in the media type that was asked for', async () => {
    const types = await Promise.all(
      [
        'application/json',
        'application/graphql-response+json',
        'application/json;q=0.5, application/graphql-response+json',
        '*/*',
        'text/html, application/json',
        'application/json, application/graphql-response+json',
        'application/*',
        'application/json, application/graphql-response+json;q=0',
      ].map(async (accept) => (await api.ask({ query: '{ viewer { agency } }' }, { accept })).type),
    );
    const [json, response] = ['application/json; charset=utf-8', 'application/graphql-response+json; charset=utf-8'];
    expect(types).toEqual([json, response, response, json, json, response, json, json]);
    expect((await api.ask({ query: '{ viewer { agency } }' }, { accept: 'text/html' })).status).toBe(406);
  });
});

describe('the door', () => {
  it('stays shut without a good token, before the document is looked at', async () => {
    const good = await api.token();
    const headers: Record<string, string>[] = [
      {},
      { authorization: 'Basic x' },
      { authorization: `Bearer ${good} ` + 'x' },
      { authorization: `Bearer ${good}x` },
      { authorization: `Bearer ${await api.token({ exp: 1, iat: 0 })}` },
    ];
    for (const header of headers) {
      const response = await fetch(`${api.url}${graphqlPath}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...header },
        body: '{ this is not even JSON',
      });
      expect(response.status).toBe(401);
      expect(response.headers.get('www-authenticate')).toMatch(/^Bearer/);
      const body = (await response.json()) as { data?: unknown; errors: { extensions: Record<string, unknown> }[] };
      expect(body.data).toBeUndefined();
      expect(body.errors[0]?.extensions).toMatchObject({
        code: 'UNAUTHENTICATED',
        class: 'AUTHENTICATION',
        retryable: false,
      });
    }
  });

  it('does not take a token from the address', async () => {
    const response = await fetch(`${api.url}${graphqlPath}?query={viewer{agency}}&access_token=${await api.token()}`);
    expect(response.status).toBe(401);
  });

  it('knows the agency from the token alone', async () => {
    const { body } = await api.ask(
      { query: '{ agencyWhoAsks }', variables: { agency: 'noaa' }, extensions: { agency: 'noaa' } },
      { 'x-agency-id': 'noaa', 'x-agency': 'noaa', cookie: 'agency=noaa' },
    );
    expect(body.data).toEqual({ agencyWhoAsks: 'nasa nasa' });
  });
});

describe('a failure', () => {
  it('that is unexpected says nothing but an id, which is in the log', async () => {
    const { status, body } = await api.ask({ query: '{ viewer { agency } broken }' });
    expect(status).toBe(200);
    expect(body.data).toEqual({ viewer: { agency: 'nasa' }, broken: null });
    const [error] = body.errors ?? [];
    expect(error?.path).toEqual(['broken']);
    expect(error?.extensions).toMatchObject({ code: 'INTERNAL', class: 'TERMINAL', retryable: false });
    expect(JSON.stringify(body)).not.toMatch(/constraint|10\.0\.0\.7|stack/);
    const line = api.log.find(
      ({ fields }) => (fields as { errorId?: string } | undefined)?.errorId === error?.extensions['errorId'],
    );
    expect(line).toMatchObject({ level: 'error', service: 'api', trace_id: error?.extensions['traceId'] });
    expect(JSON.stringify(line)).toMatch(/unique constraint/);
  });

  it.each([
    ['INVALID_INPUT', 400],
    ['FORBIDDEN', 403],
    ['DATA_ISOLATION', 403],
    ['UNAUTHENTICATED', 401],
    ['LIMIT_EXCEEDED', 429],
    ['UNAVAILABLE', 503],
    ['ECONNREFUSED', 503],
    ['CHECKPOINT_CORRUPTED', 500],
    ['INTERNAL', 500],
  ])('of the whole request with %s has the status %i, and 200 as application/json', async (code, status) => {
    const request = { query: 'query ($code: String!) { failing(code: $code) }', variables: { code } };
    const whole = await api.ask(request);
    expect(whole.status).toBe(status);
    expect(whole.body.data).toBeNull();
    expect(JSON.stringify(whole.body)).not.toContain('10.0.0.7');
    expect((await api.ask(request, { accept: 'application/json' })).status).toBe(200);
  });

  it('of a masked field leaves the rest', async () => {
    const { status, body } = await api.ask({ query: '{ loop { text secret } }' });
    expect(status).toBe(200);
    expect(body.data).toEqual({ loop: { text: 'text', secret: null } });
    expect(body.errors?.[0]).toMatchObject({
      path: ['loop', 'secret'],
      extensions: { code: 'FORBIDDEN', class: 'AUTHORIZATION' },
    });
  });

  it('that a mutation expects is a type, every other is masked', async () => {
    const query = `mutation ($code: String) { attempt(code: $code) { __typename ... on Done { ok }
      ... on Error { errorId class code message retryable traceId } ... on ValidationError { candidates issues { path rule message } } } }`;
    const attempt = async (code: string | null) => (await api.ask({ query, variables: { code } })).body;
    expect((await attempt(null)).data).toEqual({ attempt: { __typename: 'Done', ok: true } });
    expect((await attempt('INVALID_INPUT')).data?.['attempt']).toMatchObject({
      __typename: 'ValidationError',
      class: 'VALIDATION',
      code: 'INVALID_INPUT',
      message: 'It is INVALID_INPUT.',
      retryable: false,
      candidates: ['b'],
      issues: [{ path: '/a', rule: 'type', message: 'm' }],
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/),
      errorId: expect.any(String),
    });
    expect((await attempt('UNAVAILABLE')).data?.['attempt']).toMatchObject({
      __typename: 'TransientError',
      retryable: true,
    });
    expect((await attempt('SOURCE_INVALID')).data?.['attempt']).toMatchObject({ __typename: 'TerminalError' });
    for (const code of ['raw', 'INTERNAL']) {
      const masked = await attempt(code);
      expect(masked.data).toBeNull();
      expect(masked.errors?.[0]?.extensions).toMatchObject({ code: 'INTERNAL' });
      expect(JSON.stringify(masked)).not.toMatch(/select|It is/);
    }
    const unlisted = await attempt('DATA_ISOLATION');
    expect(unlisted.errors?.[0]?.extensions).toMatchObject({ code: 'DATA_ISOLATION' });
  });

  it('keeps the caller’s own request and trace ids', async () => {
    const traceId = 'c'.repeat(32);
    const { body } = await api.ask(
      { query: '{ broken }' },
      { traceparent: `00-${traceId}-${'d'.repeat(16)}-01`, 'x-request-id': 'mine-1' },
    );
    expect(body.errors?.[0]?.extensions['traceId']).toBe(traceId);
    expect(
      api.log.some(
        ({ trace_id, fields }) => trace_id === traceId && (fields as { requestId: string }).requestId === 'mine-1',
      ),
    ).toBe(true);
  });
});

describe('a global id', () => {
  const idOf = (text: string): string => Buffer.from(text).toString('base64url');
  const node = async (id: string) =>
    (await api.ask({ query: 'query ($id: ID!) { node(id: $id) { __typename id } }', variables: { id } })).body;

  it('finds its thing', async () => {
    expect((await node(idOf('Thing:1'))).data).toEqual({ node: { __typename: 'Thing', id: idOf('Thing:1') } });
  });

  it.each(['Thing:2', 'Nope:1', 'Viewer:1', 'Query:1', 'Node:1', 'String:1', 'Thing:constructor'])(
    'of nothing, %s, reads as null',
    async (text) => {
      expect(await node(idOf(text))).toEqual({ data: { node: null } });
    },
  );

  it.each([
    '',
    'x',
    'Thing:1',
    `${idOf('Thing:1')}=`,
    ` ${idOf('Thing:1')}`,
    idOf('Thing:'),
    idOf(':1'),
    idOf('thing'),
    idOf('__proto__:1'),
  ])('that no field ever returned, %j, is refused', async (id) => {
    expect((await node(id)).errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_INPUT' });
  });

  it('keeps its place among others', async () => {
    const query = 'query ($ids: [ID!]!) { nodes(ids: $ids) { id } }';
    const ids = ['Nope:1', 'Thing:1', 'Thing:2', 'Viewer:1', 'Thing:1'].map(idOf);
    const thing = { id: idOf('Thing:1') };
    expect((await api.ask({ query, variables: { ids } })).body).toEqual({
      data: { nodes: [null, thing, null, null, thing] },
    });
    const many = Array.from({ length: 201 }, (_, i) => idOf(`Thing:${String(i)}`));
    const refused = await api.ask({ query, variables: { ids: many } });
    expect(refused.body.errors?.[0]?.extensions).toMatchObject({ code: 'LIMIT_EXCEEDED' });
  });
});

describe('a request that is not GraphQL', () => {
  it('is refused with the status that fits', async () => {
    expect((await api.ask({ query: `{ ${'a'.repeat(100_001)} }` })).status).toBe(413);
    expect((await api.ask('{', {})).status).toBe(400);
    expect((await api.ask('{ viewer { agency } }', { 'content-type': 'text/plain' })).status).toBe(415);
    expect((await api.ask('{ viewer { agency } }', { 'content-type': 'application/graphql' })).status).toBe(415);
    expect((await api.ask([{ query: '{ viewer { agency } }' }])).status).toBe(400);
    expect((await api.ask('{"query":"{ viewer { agency } }","variables":{"__proto__":{"a":1}}}')).status).toBe(400);
    expect((await api.ask({ query: 'subscription { three }' })).body.errors?.[0]?.message).toMatch(/WebSocket/);
  });

  it('to an address that does not exist is 404 and says where to look', async () => {
    const response = await fetch(`${api.url}/graphql`);
    expect(response.status).toBe(404);
    expect(await response.text()).toMatch(/no GET \/graphql here/);
  });
});

describe('health', () => {
  it('is live always and ready only when the database answers, without telling a stranger why', async () => {
    const get = async (path: string) =>
      fetch(`${api.url}${path}`).then(async (r) => [r.status, await r.json()] as const);
    expect(await get('/health/live')).toEqual([200, { status: 'ok' }]);
    expect(await get('/health/ready')).toEqual([200, { status: 'ok', checks: { database: 'ok' } }]);
    databaseAnswers = false;
    expect(await get('/health/ready')).toEqual([503, { status: 'failed', checks: { database: 'failed' } }]);
    databaseAnswers = true;
  });
});

describe('the pages', () => {
  it('say what is where, and the editor works without a network', async () => {
    const index = await (await fetch(`${api.url}/`)).text();
    expect(index).toMatch(/\/v1\/graphql/);
    expect(index).toMatch(/\/graphiql/);
    const editor = await fetch(`${api.url}/graphiql`);
    expect(editor.headers.get('content-security-policy')).toMatch(/default-src 'none'/);
    const html = await editor.text();
    expect(html).toContain('fluxOptions({"title":"Flux GraphiQL"');
    expect(html).not.toMatch(/<(script|link)[^>]+(src|href)="https?:/);
  });
});

describe('in production', () => {
  it('there is no editor, no introspection and no help to guess names', async () => {
    expect((await fetch(`${production.url}/graphiql`)).status).toBe(404);
    expect(await (await fetch(`${production.url}/`)).text()).not.toMatch(/graphiql/);
    const introspection = await production.ask({ query: '{ __schema { types { name } } }' });
    expect(introspection.status).toBe(400);
    expect(introspection.body.errors?.[0]?.message).toMatch(/introspection/i);
    const typo = await production.ask({ query: '{ viewr { agency } }' });
    expect(typo.body.errors?.[0]?.message).toBe('Cannot query field "viewr" on type "Query".');
    expect((await api.ask({ query: '{ viewr { agency } }' })).body.errors?.[0]?.message).toMatch(/Did you mean/);
  });
});

describe('a server that stops', () => {
  const stopping = serveSchema(testSchema);

  it('waits for no connection on which nobody has asked anything', async () => {
    // The first has asked before; the server has taken the others when it has answered the last.
    await stopping.ask({ query: '{ viewer { agency } }' });
    const { hostname, port } = new URL(stopping.url);
    const ahead = await Promise.all(
      [1, 2].map(async () => {
        const socket = connect(Number(port), hostname);
        await once(socket, 'connect');
        socket.resume();
        return { ended: once(socket, 'close') };
      }),
    );
    await stopping.ask({ query: '{ viewer { agency } }' });
    await stopping.stop();
    await Promise.all(ahead.map(({ ended }) => ended));
  });
});

describe('a port in use', () => {
  it('is one clear error, and nothing is left running', async () => {
    const taken = await takenPort();
    const start = startServer(
      { environment: 'development', host: '127.0.0.1', port: taken.port },
      {
        schema: testSchema(),
        authenticator: { authenticate: () => Promise.reject(new Error()) },
        seal: { keyId: 'x', key: Buffer.alloc(32) },
        createContext: (request) => request,
        readiness: {},
        logger: { debug() {}, info() {}, warn() {}, error() {}, fatal() {}, child: () => expect.unreachable() },
      },
    );
    const error: unknown = await start.catch((cause: unknown) => cause);
    expect(isFluxError(error, 'PORT_IN_USE')).toBe(true);
    expect((error as Error).message).toContain(`127.0.0.1:${String(taken.port)}`);
    expect((error as Error).message).toContain('FLUX_PORT');
    await taken.free();
  });
});
