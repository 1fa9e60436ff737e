import { once } from 'node:events';
import { request } from 'node:http';
import { connect as connectTcp, type Socket } from 'node:net';

import { describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';

import { graphqlPath } from '../../src/server/start-server.ts';
import { serveSchema } from './serve.ts';
import { subscriptions, testSchema, tick } from './test-schema.ts';
import { connectWire, openWire, runOverWire, type Wire } from './wire.ts';

const api = serveSchema(testSchema);
const connect = async (claims?: Record<string, unknown>): Promise<Wire> =>
  connectWire(api.url, await api.token(claims));
const init = async (claims?: Record<string, unknown>) => ({
  type: 'connection_init',
  payload: { authorization: `Bearer ${await api.token(claims)}` },
});
const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;

/** The status with which an upgrade is refused. */
async function upgradeStatus(path: string, headers: Record<string, string>): Promise<number> {
  const socket = new WebSocket(api.url.replace('http', 'ws') + path, 'graphql-transport-ws', { headers });
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode: number }];
  socket.on('error', () => undefined);
  socket.terminate();
  return response.statusCode;
}

describe('an upgrade', () => {
  it('to another path, or from a page of another site, is refused', async () => {
    expect(await upgradeStatus('/graphql', {})).toBe(404);
    expect(await upgradeStatus(graphqlPath, { origin: 'https://evil.example' })).toBe(403);
    expect(await upgradeStatus(graphqlPath, { origin: 'null' })).toBe(403);
    const own = await openWire(api.url, { headers: { origin: api.url } });
    await own.close();
  });

  it('that is not a WebSocket’s does not hang', async () => {
    const outcome = await new Promise((resolve) => {
      const asked = request(
        `${api.url}${graphqlPath}`,
        { headers: { connection: 'upgrade', upgrade: 'h2c' } },
        (response) => resolve(response.statusCode),
      );
      asked.on('error', () => resolve('closed'));
      asked.end();
    });
    expect([400, 426, 'closed']).toContain(outcome);
  });
});

describe('a socket closes with', () => {
  it('4406 for another subprotocol', async () => {
    const wire = await openWire(api.url, { protocol: [] });
    expect(await wire.closed).toEqual({ code: 4406, reason: 'Subprotocol not acceptable' });
  });

  it.each([
    'not json',
    '[]',
    '{}',
    '{"type":"unknown"}',
    '{"type":"connection_ack"}',
    '{"type":"next","id":"1","payload":{}}',
    '{"type":"subscribe"}',
    '{"type":"subscribe","id":"","payload":{"query":"{a}"}}',
    '{"type":"subscribe","id":"1","payload":{"query":1}}',
  ])('4400 for the message %s', async (message) => {
    const wire = await openWire(api.url);
    wire.send(message);
    expect((await wire.closed).code).toBe(4400);
  });

  it('4401 for an operation before the acknowledgement', async () => {
    const wire = await openWire(api.url);
    wire.send({ id: '1', type: 'subscribe', payload: { query: '{ viewer { agency } }' } });
    expect(await wire.closed).toEqual({ code: 4401, reason: 'Unauthorized' });
  });

  it('4403 for a missing, forged or expired token', async () => {
    for (const payload of [
      undefined,
      {},
      { authorization: 1 },
      { authorization: 'Bearer x' },
      { authorization: await api.token() },
      { token: await api.token() },
      { authorization: `Bearer ${await api.token({ exp: 1, iat: 0 })}` },
    ]) {
      const wire = await openWire(api.url);
      wire.send({ type: 'connection_init', ...(payload ? { payload } : {}) });
      expect(await wire.closed).toEqual({ code: 4403, reason: 'Forbidden' });
    }
  });

  it('4408 when no connection_init comes within three seconds', async () => {
    const start = Date.now();
    const wire = await openWire(api.url);
    expect((await wire.closed).code).toBe(4408);
    const waited = Date.now() - start;
    expect(waited).toBeGreaterThan(2_900); // a timer may ring some milliseconds early
    expect(waited).toBeLessThan(20_000);
  });

  it('4409 for an operation id in use', async () => {
    const wire = await connect();
    wire.send({ id: '1', type: 'subscribe', payload: { query: 'subscription { ticks }' } });
    await wire.next();
    wire.send({ id: '1', type: 'subscribe', payload: { query: '{ viewer { agency } }' } });
    expect((await wire.closed).code).toBe(4409);
  });

  it('4429 for a second connection_init', async () => {
    const wire = await connect();
    wire.send(await init());
    expect((await wire.closed).code).toBe(4429);
  });

  it('1009 for a message above 64 KiB', async () => {
    const wire = await connect();
    wire.send({
      id: '1',
      type: 'subscribe',
      payload: { query: '{ viewer { agency } }', variables: { x: 'x'.repeat(65_536) } },
    });
    expect((await wire.closed).code).toBe(1009);
  });

  it('4403 at the token’s end, and nothing is sent after it', async () => {
    const exp = inSeconds(4);
    const wire = await connect({ exp });
    wire.send({ id: '1', type: 'subscribe', payload: { query: 'subscription { ticks }' } });
    expect((await wire.next()).payload).toMatchObject({ data: { ticks: 1 } });
    const end = await wire.closed;
    expect(end).toEqual({ code: 4403, reason: 'Forbidden' });
    const late = Date.now() - exp * 1_000;
    expect(late).toBeGreaterThan(-50); // a timer may ring some milliseconds early
    expect(late).toBeLessThan(15_000);
    tick();
    await expect(wire.next()).rejects.toThrow(/closed/);
  });

  it('1013 for the twenty-first socket of one person, and room is made by leaving', async () => {
    const sub = 'crowd@example.gov';
    const wires = await Promise.all(Array.from({ length: 20 }, () => connect({ sub })));
    const extra = await openWire(api.url);
    extra.send(await init({ sub }));
    expect((await extra.closed).code).toBe(1013);
    await (await connect({ sub: 'other@example.gov' })).close();
    await wires[0]?.close();
    const again = await vi.waitFor(() => connect({ sub }), { timeout: 20_000 });
    await Promise.all([again, ...wires.slice(1)].map((wire) => wire.close()));
  });
});

describe('an operation over WebSocket', () => {
  it('may be a query or a mutation, as the agency of the token', async () => {
    const wire = await connect({ agency: 'noaa' });
    expect(await runOverWire(wire, '1', { query: '{ agencyWhoAsks }' })).toEqual([
      { id: '1', type: 'next', payload: { data: { agencyWhoAsks: 'noaa noaa' } } },
      { id: '1', type: 'complete' },
    ]);
    const [next] = await runOverWire(wire, '2', { query: 'mutation { attempt { __typename } }' });
    expect(next?.payload).toEqual({ data: { attempt: { __typename: 'Done' } } });
    await wire.close();
  });

  it('may take its token from the upgrade’s header', async () => {
    const wire = await openWire(api.url, { headers: { authorization: `Bearer ${await api.token()}` } });
    wire.send({ type: 'connection_init' });
    expect((await wire.next()).type).toBe('connection_ack');
    await wire.close();
  });

  it('sends each result and then completes', async () => {
    const wire = await connect();
    const messages = await runOverWire(wire, 's', { query: 'subscription { three }' });
    expect(messages.map(({ type, payload }) => [type, payload?.data?.['three']])).toEqual([
      ['next', 1],
      ['next', 2],
      ['next', 3],
      ['complete', undefined],
    ]);
    await wire.close();
  });

  it('without the scope is refused before its source is opened', async () => {
    subscriptions.opened = 0;
    const wire = await connect({ role: 'viewer' });
    const [first, second] = await runOverWire(wire, '1', { query: 'subscription { ticks }' });
    expect(first?.payload?.errors?.[0]?.extensions).toMatchObject({ code: 'FORBIDDEN', class: 'AUTHORIZATION' });
    expect(second?.type).toBe('complete');
    expect(subscriptions.opened).toBe(0);
    await wire.close();
  });

  it('that fails, at once or later, tells an id and no detail', async () => {
    const wire = await connect();
    const [next] = await runOverWire(wire, '1', { query: '{ broken }' });
    expect(next?.payload?.errors?.[0]?.extensions).toMatchObject({ code: 'INTERNAL', traceId: expect.any(String) });
    const later = await runOverWire(wire, '2', { query: 'subscription { failingLater }' });
    expect(later.map(({ type }) => type)).toEqual(['next', 'error']);
    expect(later[1]?.payload?.[0]?.extensions).toMatchObject({ code: 'INTERNAL' });
    expect(JSON.stringify([next, later])).not.toMatch(/constraint|relation|10\.0\.0\.7/);
    const errorId = later[1]?.payload?.[0]?.extensions?.['errorId'];
    expect(JSON.stringify(api.log.find(({ fields }) => (fields as { errorId?: string })?.errorId === errorId))).toMatch(
      /relation/,
    );
    // The socket lives on.
    expect((await runOverWire(wire, '2', { query: '{ viewer { agency } }' }))[0]?.payload?.data).toEqual({
      viewer: { agency: 'nasa' },
    });
    await wire.close();
  });

  it('ends its source when the client completes while no event is pending', async () => {
    Object.assign(subscriptions, { opened: 0, closed: 0 });
    const wire = await connect();
    wire.send({ id: '1', type: 'subscribe', payload: { query: 'subscription { ticks }' } });
    expect((await wire.next()).type).toBe('next');
    tick();
    expect((await wire.next()).payload).toMatchObject({ data: { ticks: 2 } });
    wire.send({ id: '1', type: 'complete' });
    await vi.waitFor(() => expect(subscriptions).toMatchObject({ opened: 1, closed: 1 }), { timeout: 20_000 });
    // The id is free again.
    expect((await runOverWire(wire, '1', { query: '{ viewer { agency } }' }))[0]?.type).toBe('next');
    await wire.close();
  });

  it('ends its source when the socket goes', async () => {
    Object.assign(subscriptions, { opened: 0, closed: 0 });
    const wire = await connect();
    wire.send({ id: '1', type: 'subscribe', payload: { query: 'subscription { ticks }' } });
    await wire.next();
    wire.socket.terminate();
    await vi.waitFor(() => expect(subscriptions).toMatchObject({ opened: 1, closed: 1 }), { timeout: 20_000 });
  });

  it('is one of at most fifty on a socket', async () => {
    const wire = await connect();
    for (let i = 0; i < 50; i++) {
      wire.send({ id: String(i), type: 'subscribe', payload: { query: 'subscription { ticks }' } });
      await wire.next();
    }
    const [refused] = await runOverWire(wire, '50', { query: 'subscription { ticks }' });
    expect(refused?.type).toBe('error');
    expect(refused?.payload?.[0]?.extensions).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    wire.send({ id: '0', type: 'complete' });
    await vi.waitFor(
      async () => {
        expect((await runOverWire(wire, 'q', { query: '{ viewer { agency } }' }))[0]?.type).toBe('next');
      },
      { timeout: 20_000 },
    );
    await wire.close();
  });

  it('needs a name where the document has several', async () => {
    const wire = await connect();
    const query = 'query A { viewer { agency } } query B { viewer { role } }';
    expect((await runOverWire(wire, '1', { query }))[0]?.type).toBe('error');
    expect((await runOverWire(wire, '2', { query, operationName: 'B' }))[0]?.payload?.data).toEqual({
      viewer: { role: 'OPERATOR' },
    });
    await wire.close();
  });

  it('is answered in order with pings in between', async () => {
    const wire = await connect();
    wire.send({ type: 'ping', payload: { n: 1 } });
    expect(await wire.next()).toEqual({ type: 'pong', payload: { n: 1 } });
    await wire.close();
  });
});

describe('a server that stops', () => {
  const stopping = serveSchema(testSchema);
  const other = serveSchema(testSchema);

  it('sends its sockets away with 1012 and takes no more', async () => {
    const wire = await connectWire(stopping.url, await stopping.token());
    wire.send({ id: '1', type: 'subscribe', payload: { query: 'subscription { ticks }' } });
    await wire.next();
    const { url } = stopping;
    await stopping.stop();
    expect((await wire.closed).code).toBe(1012);
    await expect(openWire(url)).rejects.toThrow();
    await stopping.stop();
  });

  it('ends although somebody comes meanwhile over a connection that is open, and stays', async () => {
    const port = Number(new URL(other.url).port);
    const lines = (...of: string[]): string => [...of, `Host: 127.0.0.1:${String(port)}`, '', ''].join('\r\n');
    const upgrade = lines(
      `GET ${graphqlPath} HTTP/1.1`,
      ...['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'],
      ...['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Protocol: graphql-transport-ws'],
    );
    // Neither closes its side by itself.
    const [slow, late] = [0, 1].map(() => connectTcp({ port, host: '127.0.0.1', allowHalfOpen: true })) as [
      Socket,
      Socket,
    ];
    try {
      // Says nothing to the goodbye, so that the server waits for a second.
      slow.write(upgrade);
      expect(String(await once(slow, 'data'))).toMatch(/^HTTP\/1\.1 101/);
      late.write(lines('GET /health/live HTTP/1.1'));
      expect(String(await once(late, 'data'))).toMatch(/^HTTP\/1\.1 200/);
      const stopped = other.stop();
      late.write(upgrade);
      expect(String(await once(late, 'data'))).toMatch(/^HTTP\/1\.1 503/);
      await stopped;
    } finally {
      slow.destroy();
      late.destroy();
    }
  });
});
