/** REST under /v1/rest: every operation of the schema, by the same rules as GraphQL, and its OpenAPI document. */
import { readFileSync } from 'node:fs';

import { Validator } from '@seriousme/openapi-schema-validator';
import { lexicographicSortSchema } from 'graphql';
import { beforeAll, describe, expect, it } from 'vitest';

import { schema } from '../../schema/schema.ts';
import { type Role, roles, scopesOf } from '../../src/auth/roles.ts';
import { prepareOperation } from '../../src/server/operations.ts';
import { openApiDocument } from '../../src/server/rest/openapi.ts';
import { readableWith } from '../../src/server/rest/readable.ts';
import { restRoutes } from '../../src/server/rest/routes.ts';
import { auditOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { ensureWebhookKeys, definitions, serveApi } from '../support/served-api.ts';

const database = useDatabase();
const api = serveApi(database);
const small = serveApi(database, {
  gateLimits: { ratePerSecond: 1, burst: 1, runningMax: 1, waitingMax: 1, executionMs: 10_000 },
});

interface Answer {
  status: number;
  type: string;
  body: Record<string, unknown>;
}

async function ask(
  method: 'GET' | 'POST',
  path: string,
  {
    token = 'nasa/admin',
    body,
    headers = {},
    url = api.url,
  }: { token?: string; body?: unknown; headers?: Record<string, string>; url?: string } = {},
): Promise<Answer> {
  const response = await fetch(`${url}/v1/rest${path}`, {
    method,
    headers: {
      ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return {
    status: response.status,
    type: response.headers.get('content-type') ?? '',
    body: (await response.json()) as Record<string, unknown>,
  };
}

const start = (headers: Record<string, string> = {}, token = 'nasa/operator'): Promise<Answer> =>
  ask('POST', '/start-run', { token, headers, body: { pipeline: 'readings' } });

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  await ensureWebhookKeys(database);
  for (const [path, body] of [
    ['/register-connection', { definition: definitions.connection }],
    ['/register-contract', { name: 'reading', document: definitions.contract }],
    ['/register-pipeline', { definition: definitions.pipeline }],
  ] as const) {
    expect(await ask('POST', path, { body })).toMatchObject({ status: 200 });
  }
});

describe('the routes', () => {
  it('cover every query and mutation, with documents that fit the limits for every role', () => {
    const routes = restRoutes(schema);
    const fields = [schema.getQueryType(), schema.getMutationType()].flatMap((type) =>
      Object.keys(type?.getFields() ?? {}),
    );
    expect(routes.map(({ field }) => field.name).sort()).toEqual(fields.sort());
    for (const route of routes) {
      for (const role of roles) {
        const query = route.document(readableWith(scopesOf(role)));
        const variables = Object.fromEntries(route.field.args.map(({ name }) => [name, undefined]));
        expect(prepareOperation(schema, { query, variables }, { introspection: false }), query).toHaveProperty(
          'document',
        );
      }
    }
  });

  it('are all there', async () => {
    for (const { method, path, parameters } of restRoutes(schema)) {
      const filled = path.replace(/\{\w+\}/, '1');
      const needed = parameters.filter(({ in: where, type }) => where === 'query' && String(type).endsWith('!'));
      const query = needed.map(({ name }) => `${name}=1`).join('&');
      const { status, body } = await ask(
        method,
        `${filled}${query && `?${query}`}`,
        method === 'POST' ? { body: {} } : {},
      );
      // Nothing verifies the audit log here.
      if (status === 503) expect(path).toBe('/verify-audit-log');
      else expect([200, 400, 404], `${method} ${path}: ${JSON.stringify(body)}`).toContain(status);
      if (status === 404) expect(body['detail']).toMatch(/^There is no such|^There is no run|for this caller/);
    }
  });
});

describe('operations', () => {
  it('answer what the field is, and leave out what the role may not read', async () => {
    const { body: run } = await start();
    expect(run).toMatchObject({ __typename: 'Run', status: 'PENDING' });
    const path = `/run/${String(run['id'])}`;
    expect(await ask('GET', path)).toMatchObject({ status: 200, body: { id: run['id'], payload: {} } });
    const { body: seen } = await ask('GET', path, { token: 'nasa/viewer' });
    expect([seen['id'], 'payload' in seen]).toEqual([run['id'], false]);
    expect(await ask('GET', '/viewer', { token: 'noaa/viewer' })).toMatchObject({
      body: { agency: 'noaa', role: 'VIEWER' },
    });
  });

  it('page and filter by the address', async () => {
    await start();
    await start();
    const { body: page } = await ask('GET', '/runs?first=1&status=PENDING&pipeline=readings&direction=ASC');
    expect(page).toMatchObject({ edges: [{ node: { status: 'PENDING' } }], pageInfo: { hasNextPage: true } });
    const { endCursor } = page['pageInfo'] as { endCursor: string };
    const { body: next } = await ask(
      'GET',
      `/runs?first=1&status=PENDING&pipeline=readings&direction=ASC&after=${endCursor}`,
    );
    expect(next['edges']).not.toEqual(page['edges']);
    expect(await ask('GET', '/runs?status=FAILED,CANCELLED')).toMatchObject({ body: { edges: [] } });
    expect(await ask('GET', '/runs?status=FAILED&status=CANCELLED')).toMatchObject({ body: { edges: [] } });
  });

  it('happen once under an Idempotency-Key', async () => {
    const first = await start({ 'idempotency-key': 'rest-1' });
    expect((await start({ 'idempotency-key': 'rest-1' })).body['id']).toBe(first.body['id']);
    expect(
      await ask('POST', '/start-run', {
        body: { pipeline: 'another' },
        headers: { 'idempotency-key': 'rest-1' },
      }),
    ).toMatchObject({ status: 400, body: { code: 'IDEMPOTENCY_CONFLICT' } });
  });

  it('leave an audit entry, also when they are refused', async () => {
    const { body } = await start({ 'user-agent': 'rest' });
    await ask('POST', '/start-run', { body: { pipeline: 'nothing' } });
    const entries = (await auditOf(database, 'nasa')).filter(({ action }) => action === 'run.start');
    expect(entries.find(({ resource_id }) => resource_id === body['runId'])).toMatchObject({ success: true });
    expect(entries.some(({ error_code }) => error_code === 'PIPELINE_NOT_FOUND')).toBe(true);
  });
});

describe('refusals', () => {
  const problem = (status: number, code: string) => ({
    status,
    type: 'application/problem+json; charset=utf-8',
    body: { status, code, type: `urn:flux:error:${code}`, errorId: expect.any(String) as string },
  });

  it('have the status of their class and say what is wrong', async () => {
    expect(await ask('GET', '/viewer', { token: '' })).toMatchObject(problem(401, 'UNAUTHENTICATED'));
    expect(await start({}, 'nasa/viewer')).toMatchObject(problem(403, 'FORBIDDEN'));
    expect(await ask('GET', '/audit-entries', { token: 'nasa/viewer' })).toMatchObject(problem(403, 'FORBIDDEN'));
    expect(await ask('GET', '/run/00000000-0000-7000-8000-000000000000')).toMatchObject(problem(404, 'NOT_FOUND'));
    expect(await ask('GET', '/runs?firts=1')).toMatchObject(problem(400, 'INVALID_INPUT'));
    expect(await ask('GET', '/runs?first=many')).toMatchObject(problem(400, 'INVALID_INPUT'));
    expect(await ask('GET', '/runs?first=1&first=2')).toMatchObject(problem(400, 'INVALID_INPUT'));
    expect(await ask('GET', '/runs?first=100000')).toMatchObject({
      status: expect.toSatisfy((status) => status === 400 || status === 429) as number,
    });
    expect(await ask('POST', '/start-run', { body: {} })).toMatchObject(problem(400, 'INVALID_INPUT'));
    expect(await ask('POST', '/start-run', { body: [] })).toMatchObject(problem(400, 'INVALID_INPUT'));
    expect(await ask('POST', '/start-run', { body: '{"pipeline":' })).toMatchObject(problem(400, 'INVALID_INPUT'));
    expect(await ask('POST', '/start-run', { body: { pipeline: 'x'.repeat(100_001) } })).toMatchObject(
      problem(429, 'LIMIT_EXCEEDED'),
    );
    expect(await ask('POST', '/start-run', { body: { pipeline: 'nothing' } })).toMatchObject({
      ...problem(400, 'PIPELINE_NOT_FOUND'),
      body: { candidates: ['readings (text, research)'] },
    });
    expect(
      await ask('POST', '/start-run', {
        body: { payload: { agency: 'noaa', content_type: 'text', use_case: 'research', stage: 'full', source: 's' } },
      }),
    ).toMatchObject(problem(403, 'DATA_ISOLATION'));
  });

  it('count against the agency’s limits like any other operation', async () => {
    const statuses = await Promise.all(
      Array.from({ length: 5 }, async () => (await ask('GET', '/viewer', { url: small.url })).status),
    );
    expect(statuses).toContain(429);
  });
});

describe('the OpenAPI document', () => {
  const root = new URL('../../', import.meta.url);

  it('is valid, checked in, and served', async () => {
    const served = (await ask('GET', '/openapi.json', { token: '' })).body;
    const result = await new Validator().validate(structuredClone(served));
    expect([result.errors, result.valid]).toEqual([undefined, true]);
    const checkedIn = JSON.parse(readFileSync(new URL('schema/openapi.json', root), 'utf8')) as object;
    expect(JSON.parse(JSON.stringify(openApiDocument(lexicographicSortSchema(schema))))).toEqual(checkedIn);
    expect(Object.keys(served['paths'] as object)).toEqual(Object.keys((checkedIn as { paths: object }).paths));
  });

  it('describes what is answered', async () => {
    const document = openApiDocument(schema) as {
      paths: Record<
        string,
        { get?: { responses: { 200: { content: Record<string, { schema: { $ref: string } }> } } } }
      >;
      components: { schemas: Record<string, { required: string[]; properties: object }> };
    };
    const { $ref } = document.paths['/viewer']?.get?.responses[200].content['application/json']?.schema ?? { $ref: '' };
    const described = document.components.schemas[$ref.split('/').at(-1) ?? ''];
    expect(Object.keys((await ask('GET', '/viewer')).body).sort()).toEqual(
      Object.keys(described?.properties ?? {}).sort(),
    );
  });

  it('is a page without script or anything from elsewhere', async () => {
    for (const role of ['', 'viewer'] as ('' | Role)[]) {
      const response = await fetch(
        `${api.url}/v1/docs`,
        role ? { headers: { authorization: `Bearer nasa/${role}` } } : {},
      );
      const html = await response.text();
      expect(response.headers.get('content-security-policy')).toMatch(
        /^default-src 'none'; style-src 'unsafe-inline';/,
      );
      expect(html).not.toMatch(/<script|<img|<link|<iframe|src=|url\(|@import/);
      expect(html.match(/href="(?!#|\/v1\/rest)/g)).toBeNull();
      for (const { path } of restRoutes(schema)) expect(html).toContain(`/v1/rest${path}`);
    }
  });
});
