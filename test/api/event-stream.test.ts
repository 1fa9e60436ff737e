import { once } from 'node:events';
import { connect } from 'node:net';

import { createClient } from 'graphql-sse';
import { describe, expect, it, vi } from 'vitest';

import { graphqlPath } from '../../src/server/start-server.ts';
import { openEvents, runOverEvents } from './event-wire.ts';
import { serveSchema } from './serve.ts';
import { subscriptions, testSchema, tick } from './test-schema.ts';

const api = serveSchema(testSchema, { eventStreamTimes: { stallMs: 400, heartbeatMs: 100 } });
const forget = () => Object.assign(subscriptions, { opened: 0, closed: 0, sent: 0 });
const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;

describe('an event stream', () => {
  it('has the type, and the headers of every other answer', async () => {
    const { response } = await openEvents(api.url, await api.token(), { query: '{ viewer { agency } }' });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('x-request-id')).toBeTruthy();
  });

  it('is one `next` and `complete` for a query and a mutation', async () => {
    const token = await api.token({ agency: 'noaa' });
    expect(await runOverEvents(api.url, token, { query: '{ agencyWhoAsks }' })).toEqual([
      { event: 'next', data: { data: { agencyWhoAsks: 'noaa noaa' } } },
      { event: 'complete', data: null },
    ]);
    const [next] = await runOverEvents(api.url, token, { query: 'mutation { attempt { __typename } }' });
    expect(next?.data).toEqual({ data: { attempt: { __typename: 'Done' } } });
  });

  it('sends each result of a subscription and then completes', async () => {
    const events = await runOverEvents(api.url, await api.token(), { query: 'subscription { three }' });
    expect(events.map(({ event, data }) => [event, data?.data?.['three']])).toEqual([
      ['next', 1],
      ['next', 2],
      ['next', 3],
      ['complete', undefined],
    ]);
  });

  it('takes the operation that is named, with its variables', async () => {
    const query = 'query A($n: Int) { numbers(first: $n) } query B { viewer { role } }';
    const token = await api.token();
    expect(await runOverEvents(api.url, token, { query, operationName: 'A', variables: { n: 2 } })).toMatchObject([
      { data: { data: { numbers: [0, 1] } } },
      { event: 'complete' },
    ]);
    expect((await runOverEvents(api.url, token, { query }))[0]?.data?.errors).toHaveLength(1);
  });

  it('is chosen by Accept, wherever it stands', async () => {
    const asked = { query: '{ viewer { agency } }' };
    const typeFor = async (accept: string) =>
      (await openEvents(api.url, await api.token(), asked, { accept })).response.headers.get('content-type');
    expect(await typeFor('application/json;q=0.5, text/event-stream')).toMatch(/^text\/event-stream/);
    expect(await typeFor('text/event-stream;q=0.5, application/json')).toMatch(/^application\/json/);
    expect(await typeFor('*/*')).toMatch(/^application\/json/);
  });

  it('beats while nothing happens', async () => {
    const wire = await openEvents(api.url, await api.token(), { query: 'subscription { ticks }' });
    await wire.next();
    const next = wire.next();
    await vi.waitFor(() => expect(wire.comments()).toBeGreaterThan(2), { timeout: 20_000 });
    tick();
    expect((await next)?.data).toEqual({ data: { ticks: 2 } });
    wire.leave();
  });
});

describe('a request for a stream is refused as an ordinary answer', () => {
  it.each([
    '[]',
    '{}',
    '{"query":1}',
    '{"query":"{ broken }","variables":[]}',
    '{"query":"{a}","operationName":1}',
    'not json',
  ])('with 400 for %s', async (body) => {
    const { response } = await openEvents(api.url, await api.token(), body);
    expect(response.status).toBe(400);
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'INVALID_INPUT' } }] });
  });

  it('with 401 without a good token, before the body is read', async () => {
    for (const token of ['x', await api.token({ exp: 1, iat: 0 })]) {
      const { response } = await openEvents(api.url, token, 'not json');
      expect(response.status).toBe(401);
    }
  });

  it('with 415 for another media type, and 413 above 100 kB', async () => {
    const token = await api.token();
    expect((await openEvents(api.url, token, '{}', { 'content-type': 'text/plain' })).response.status).toBe(415);
    expect((await openEvents(api.url, token, { query: `#${'x'.repeat(100_001)}` })).response.status).toBe(413);
  });

  it('with 429 for the fifty-first of one person, and room is made by leaving', async () => {
    const token = await api.token({ sub: 'crowd@example.gov' });
    const asked = { query: 'subscription { ticks }' };
    const wires = await Promise.all(Array.from({ length: 50 }, () => openEvents(api.url, token, asked)));
    expect((await openEvents(api.url, token, asked)).response.status).toBe(429);
    expect((await openEvents(api.url, await api.token(), { query: '{ broken }' })).response.status).toBe(200);
    wires[0]?.leave();
    await vi.waitFor(
      async () => {
        const wire = await openEvents(api.url, token, { query: '{ viewer { agency } }' });
        expect(wire.response.status).toBe(200);
      },
      { timeout: 20_000 },
    );
    for (const wire of wires) wire.leave();
  });
});

describe('an operation’s own errors', () => {
  it('of validation are a `next`', async () => {
    const events = await runOverEvents(api.url, await api.token(), { query: '{ nothing }' });
    expect(events).toMatchObject([
      { event: 'next', data: { errors: [{ extensions: { code: 'INVALID_INPUT' } }] } },
      { event: 'complete' },
    ]);
  });

  it('at once or later tell an id and no detail', async () => {
    const token = await api.token();
    const now = await runOverEvents(api.url, token, { query: '{ broken }' });
    const later = await runOverEvents(api.url, token, { query: 'subscription { failingLater }' });
    expect(later.map(({ event }) => event)).toEqual(['next', 'next', 'complete']);
    expect(now[0]?.data?.errors?.[0]?.extensions).toMatchObject({ code: 'INTERNAL', traceId: expect.any(String) });
    expect(later[1]?.data?.errors?.[0]?.extensions).toMatchObject({ code: 'INTERNAL' });
    expect(JSON.stringify([now, later])).not.toMatch(/constraint|relation|10\.0\.0\.7/);
  });

  it('of authorization come before the source is opened', async () => {
    forget();
    const events = await runOverEvents(api.url, await api.token({ role: 'viewer' }), {
      query: 'subscription { ticks }',
    });
    expect(events[0]?.data?.errors?.[0]?.extensions).toMatchObject({ code: 'FORBIDDEN', class: 'AUTHORIZATION' });
    expect(subscriptions.opened).toBe(0);
  });
});

describe('a source ends', () => {
  it('at once when the client leaves while no event is pending', async () => {
    forget();
    const wire = await openEvents(api.url, await api.token(), { query: 'subscription { ticks }' });
    await wire.next();
    wire.leave();
    await vi.waitFor(() => expect(subscriptions).toMatchObject({ opened: 1, closed: 1 }), { timeout: 20_000 });
  });

  it('with the token, without `complete`', async () => {
    forget();
    const exp = inSeconds(4);
    const wire = await openEvents(api.url, await api.token({ exp }), { query: 'subscription { ticks }' });
    expect((await wire.next())?.data).toEqual({ data: { ticks: 1 } });
    expect(await wire.next()).toBeNull();
    const late = Date.now() - exp * 1_000;
    expect(late).toBeGreaterThan(-50); // a timer may ring some milliseconds early
    expect(late).toBeLessThan(15_000);
    await vi.waitFor(() => expect(subscriptions.closed).toBe(1), { timeout: 20_000 });
  });

  it('when a client takes nothing, and little was held for it until then', async () => {
    forget();
    const { hostname, port } = new URL(api.url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    socket.pause();
    const body = JSON.stringify({ query: 'subscription { flood }' });
    socket.write(
      [
        `POST ${graphqlPath} HTTP/1.1`,
        `Host: ${hostname}`,
        `Authorization: Bearer ${await api.token()}`,
        'Accept: text/event-stream',
        'Content-Type: application/json',
        `Content-Length: ${String(body.length)}`,
        '',
        body,
      ].join('\r\n'),
    );
    await vi.waitFor(() => expect(subscriptions.closed).toBe(1), { timeout: 20_000 });
    // What the system's socket buffers took; nothing waits in this process but the one that was being sent.
    expect(subscriptions.sent * 65_536).toBeLessThan(16 * 1024 * 1024);
    socket.destroy();
  });

  it('when the server stops, and its clients may come back elsewhere', async () => {
    forget();
    const wire = await openEvents(stopping.url, await stopping.token(), { query: 'subscription { ticks }' });
    await wire.next();
    await stopping.stop();
    expect(await wire.next()).toBeNull();
    expect(subscriptions.closed).toBe(1);
  });
  const stopping = serveSchema(testSchema);
});

describe('the client graphql-sse', () => {
  const clientFor = (token: () => Promise<string>) =>
    createClient({
      url: `${api.url}${graphqlPath}`,
      headers: async () => ({ authorization: `Bearer ${await token()}` }),
      retryAttempts: 0,
    });

  it('reads queries, subscriptions and errors', async () => {
    const client = clientFor(() => api.token());
    const results = async (query: string) => {
      const all: unknown[] = [];
      for await (const result of client.iterate({ query })) all.push(result);
      return all;
    };
    expect(await results('{ viewer { agency } }')).toEqual([{ data: { viewer: { agency: 'nasa' } } }]);
    expect(await results('subscription { three }')).toEqual([
      { data: { three: 1 } },
      { data: { three: 2 } },
      { data: { three: 3 } },
    ]);
    expect(await results('{ nothing }')).toMatchObject([{ errors: [{ message: expect.stringContaining('nothing') }] }]);
  });

  it('ends the source by disposing, and takes a cut stream for a broken one', async () => {
    forget();
    const iterator = clientFor(() => api.token()).iterate({ query: 'subscription { ticks }' });
    await iterator.next();
    await iterator.return?.();
    await vi.waitFor(() => expect(subscriptions.closed).toBe(1), { timeout: 20_000 });
    const cut = clientFor(() => api.token({ exp: inSeconds(4) })).iterate({ query: 'subscription { ticks }' });
    await cut.next();
    await expect(cut.next()).rejects.toThrow(/closed/);
  });
});
