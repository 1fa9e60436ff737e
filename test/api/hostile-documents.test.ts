import { describe, expect, it } from 'vitest';

import { getIntrospectionQuery } from 'graphql';

import { runOverEvents } from './event-wire.ts';
import { hostile, hostileRequests, nest, nested, type Operation, repeat } from './hostile-corpus.ts';
import { askRest } from './rest-wire.ts';
import { serveSchema } from './serve.ts';
import { testSchema } from './test-schema.ts';
import { connectWire, runOverWire, type Wire } from './wire.ts';

const api = serveSchema(testSchema);
let shared: Promise<Wire> | undefined;
const wire = (): Promise<Wire> => (shared ??= api.token().then((token) => connectWire(api.url, token)));

it('there are at least forty of them', () => {
  expect(hostile.length).toBeGreaterThanOrEqual(40);
});

const cpuMsMax = 150;

/** Asks by HTTP, WebSocket and event stream. @returns the most that one of them took of the processor, in milliseconds */
async function refusedEverywhere(operation: Operation, code: string): Promise<number> {
  const before = process.cpuUsage();
  const http = await api.ask(operation);
  const httpMs = cpuMs(before);
  expect(http.body.data ?? null).toBeNull();
  expect(http.body.errors?.[0]?.extensions['code']).toBe(code);
  expect(http.body.errors?.length).toBeLessThanOrEqual(11);
  expect(http.status).toBe(code === 'LIMIT_EXCEEDED' ? 429 : 400);

  const socket = await wire();
  const again = process.cpuUsage();
  const messages = await runOverWire(socket, 'h', operation);
  const wireMs = cpuMs(again);
  const [first] = messages;
  const errors = first?.type === 'error' ? first.payload : first?.payload?.errors;
  expect(errors?.[0]?.extensions?.['code']).toBe(code);
  expect(errors?.length).toBeLessThanOrEqual(11);

  const token = await api.token();
  const third = process.cpuUsage();
  const [event, end] = await runOverEvents(api.url, token, operation);
  const streamMs = cpuMs(third);
  expect(event?.data?.errors?.[0]?.extensions['code']).toBe(code);
  expect(event?.data?.errors?.length).toBeLessThanOrEqual(11);
  expect(end?.event).toBe('complete');
  return Math.max(httpMs, wireMs, streamMs);
}

describe('a hostile document', () => {
  it.each(hostile)('with %s is refused alike on all transports, cheaply', async (_name, operation, code) => {
    await api.ask({ query: '{ viewer { agency } }' }); // warm
    const costs: number[] = [];
    // Of three: what else the process does meanwhile, as collecting garbage, is not the document's.
    for (let i = 0; i < 3 && (costs.at(-1) ?? Infinity) >= cpuMsMax; i += 1)
      costs.push(await refusedEverywhere(operation, code));
    // Client and server share this process, so the real cost is lower.
    expect(Math.min(...costs)).toBeLessThan(cpuMsMax);

    const token = await api.token();
    // REST has documents of its own and takes none; a longer address than this is no request to Node.
    if (operation.query.length > 2_000) return;
    const path = `/viewer?query=${encodeURIComponent(operation.query.toWellFormed())}`;
    expect(await askRest(api.url, token, { method: 'GET', path })).toMatchObject({
      status: 400,
      body: { code: 'INVALID_INPUT', detail: expect.stringContaining('no parameter query') as string },
    });
  });

  it('there are thirty requests of that kind to REST', () => {
    expect(hostileRequests.length).toBeGreaterThanOrEqual(30);
  });

  it.each(hostileRequests)('with %s is refused by REST, cheaply', async (_name, request, status, code) => {
    const { method = 'GET', path, body, headers = {} } = request;
    const token = await api.token();
    const before = process.cpuUsage();
    const response = await fetch(`${api.url}/v1/rest${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    const ms = cpuMs(before);
    const problem = JSON.parse(text) as Record<string, unknown>;
    expect({ ...problem, status: response.status }).toMatchObject({ status, code });
    expect(response.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    expect(text.length).toBeLessThan(4_000);
    expect(ms).toBeLessThan(150);
  });

  it('does not take the socket down', async () => {
    const socket = await wire();
    expect((await runOverWire(socket, 'ok', { query: '{ viewer { agency } }' }))[0]?.payload?.data).toEqual({
      viewer: { agency: 'nasa' },
    });
    await socket.close();
  });
});

describe('an honest document at the limits', () => {
  const honest: [string, Operation][] = [
    [
      'the introspection of a development tool',
      {
        query: getIntrospectionQuery({
          descriptions: true,
          specifiedByUrl: true,
          directiveIsRepeatable: true,
          schemaDescription: true,
          inputValueDeprecation: true,
          oneOf: true,
        }),
      },
    ],
    ['10 levels', { query: `{ ${nest(9, 'loop', 'text')} }` }],
    ['15 aliases', { query: `{ loop { ${repeat(15, (i) => `a${String(i)}: text`)} } }` }],
    ['10 root fields', { query: `{ ${repeat(10, () => 'agencyWhoAsks')} }` }],
    ['20 directives', { query: `{ loop { ${repeat(20, () => 'text @skip(if: false)')} } }` }],
    ['5,000 objects', { query: '{ pages(first: 100) { pages(first: 49) { text } } }' }],
    ['a page of 200', { query: 'query ($n: Int) { numbers(first: $n) }', variables: { n: 200 } }],
    [
      'a contract 32 deep',
      { query: 'query ($v: JSON) { numbers(first: 1, value: $v) }', variables: { v: nested(34) } },
    ],
  ];
  it.each(honest)('%s is answered', async (_name, operation) => {
    const { status, body } = await api.ask(operation);
    expect(body.errors).toBeUndefined();
    expect(status).toBe(200);
  });
});

function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1_000;
}
