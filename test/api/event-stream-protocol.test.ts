import { describe, expect, it, vi } from 'vitest';

import { graphqlPath } from '../../src/server/start-server.ts';
import { allOf, openEvents, openEventsByGet, runOverEvents } from './event-wire.ts';
import { serveSchema } from './serve.ts';
import { subscriptions, testSchema, tick } from './test-schema.ts';

/** The sentences of graphql-sse's protocol text on distinct connections, and of the HTML standard's on the stream itself. */
const api = serveSchema(testSchema);
const viewer = '{ viewer { agency } }';
const ticks = 'subscription { ticks }';

describe('the content type', () => {
  it.each([
    ['a query', viewer],
    ['a mutation', 'mutation { attempt { __typename } }'],
    ['a subscription', 'subscription { three }'],
    ['a document that is not valid', '{ nothing }'],
    ['a document that does not parse', '{'],
  ])('is text/event-stream for %s', async (_what, query) => {
    const wire = await openEvents(api.url, await api.token(), { query });
    expect(wire.response.status).toBe(200);
    expect(wire.response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    await allOf(wire);
  });
});

describe('what is wrong before execution is one `next` with errors and no data, then `complete`', () => {
  const many = `{ ${Array.from({ length: 60 }, (_, i) => `a${String(i)}: viewer { role }`).join(' ')} }`;
  it.each<[string, object]>([
    ['a document that does not parse', { query: '{' }],
    ['a field that there is not', { query: '{ nothing }' }],
    ['a variable that is missing', { query: 'query ($code: String!) { failing(code: $code) }' }],
    ['a variable of another type', { query: 'query ($n: Int) { numbers(first: $n) }', variables: { n: 'x' } }],
    ['several operations and no name', { query: 'query A { viewer { role } } query B { viewer { role } }' }],
    ['a name that no operation has', { query: 'query A { viewer { role } }', operationName: 'C' }],
    ['a document above the limits', { query: many }],
  ])('%s', async (_what, asked) => {
    const events = await runOverEvents(api.url, await api.token(), asked);
    expect(events.map(({ event }) => event)).toEqual(['next', 'complete']);
    expect(events[0]?.data?.errors?.[0]).toMatchObject({ message: expect.any(String) as string });
    expect(events[0]?.data?.data ?? null).toBeNull();
  });
});

describe('`next` and `complete`', () => {
  it('carry a result as one line of JSON, and nothing', async () => {
    const { response } = await openEvents(api.url, await api.token(), { query: viewer });
    expect(await response.text()).toBe(
      'event: next\ndata: {"data":{"viewer":{"agency":"nasa"}}}\n\nevent: complete\ndata:\n\n',
    );
  });

  it('keep text whole that looks like the end of a line or of an event', async () => {
    const text = 'a\n\nevent: complete\r\ndata: {}\u2028\u0085 b';
    const asked = { query: 'query ($n: Int) { numbers(first: $n) }', variables: { n: text } };
    const [next, complete, ...others] = await runOverEvents(api.url, await api.token(), asked);
    expect(next?.data?.errors?.[0]?.message).toContain(JSON.stringify(text));
    expect([complete?.event, others]).toEqual(['complete', []]);
  });

  it('come in order, `complete` last and once', async () => {
    const events = await runOverEvents(api.url, await api.token(), { query: 'subscription { three }' });
    expect(events.map(({ event }) => event)).toEqual(['next', 'next', 'next', 'complete']);
  });

  it('end the connection: nothing follows `complete`', async () => {
    const wire = await openEvents(api.url, await api.token(), { query: viewer });
    expect((await allOf(wire)).at(-1)?.event).toBe('complete');
    expect(await wire.next()).toBeNull();
  });
});

describe('a client that closes its connection', () => {
  it('ends its operation, and no other', async () => {
    Object.assign(subscriptions, { opened: 0, closed: 0 });
    const token = await api.token();
    const [leaving, staying] = [
      await openEvents(api.url, token, { query: ticks }),
      await openEvents(api.url, token, { query: ticks }),
    ];
    await Promise.all([leaving.next(), staying.next()]);
    leaving.leave();
    await vi.waitFor(() => expect(subscriptions).toMatchObject({ opened: 2, closed: 1 }), { timeout: 20_000 });
    const next = staying.next();
    tick();
    expect((await next)?.event).toBe('next');
    staying.leave();
    await vi.waitFor(() => expect(subscriptions.closed).toBe(2), { timeout: 20_000 });
  });
});

describe('GET, as GraphQL over HTTP has it', () => {
  it('asks for a query with its variables, and for a subscription', async () => {
    const token = await api.token();
    const query = 'query A($n: Int) { numbers(first: $n) } query B { viewer { role } }';
    const asked = { query, operationName: 'A', variables: '{"n":2}' };
    const events = await allOf(await openEventsByGet(api.url, token, asked));
    expect(events).toEqual([
      { event: 'next', data: { data: { numbers: [0, 1] } } },
      { event: 'complete', data: null },
    ]);
    const three = await allOf(await openEventsByGet(api.url, token, { query: 'subscription { three }' }));
    expect(three).toHaveLength(4);
  });

  it('changes nothing', async () => {
    const wire = await openEventsByGet(api.url, await api.token(), { query: 'mutation { attempt { __typename } }' });
    const events = await allOf(wire);
    expect(events).toMatchObject([
      { event: 'next', data: { errors: [{ message: expect.stringMatching(/POST/) as string }] } },
      { event: 'complete' },
    ]);
    expect(events[0]?.data?.data).toBeUndefined();
  });

  it.each([{}, { query: viewer, variables: 'x' }, { query: viewer, variables: '[1]' }])(
    'is refused as an ordinary answer when it asks %j',
    async (asked: Record<string, string>) => {
      const { response } = await openEventsByGet(api.url, await api.token(), asked);
      expect(response.status).toBe(400);
      expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    },
  );

  it('needs a token like every request', async () => {
    const { response } = await openEventsByGet(api.url, 'x', { query: viewer });
    expect(response.status).toBe(401);
  });
});

describe('the single connection mode is not offered', () => {
  it.each(['PUT', 'DELETE'])('%s finds nothing', async (method) => {
    const authorization = `Bearer ${await api.token()}`;
    const response = await fetch(`${api.url}${graphqlPath}?operationId=1`, { method, headers: { authorization } });
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'NOT_FOUND' } }] });
  });

  it('an operation id among the extensions does not change the answer', async () => {
    const events = await runOverEvents(api.url, await api.token(), { query: viewer, extensions: { operationId: '1' } });
    expect(events[0]).toEqual({ event: 'next', data: { data: { viewer: { agency: 'nasa' } } } });
  });
});
