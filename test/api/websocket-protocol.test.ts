import { describe, expect, it, vi } from 'vitest';

import { serveSchema } from './serve.ts';
import { subscriptions, testSchema } from './test-schema.ts';
import { connectWire, openWire, runOverWire, type Wire } from './wire.ts';

/** The sentences of the graphql-transport-ws protocol (PROTOCOL.md of graphql-ws) that websocket.test.ts does not hold. */
const api = serveSchema(testSchema);
const connect = async (): Promise<Wire> => connectWire(api.url, await api.token());
const viewer = '{ viewer { agency } }';
const ticks = 'subscription { ticks }';

/** The answer to a ping sent now is the next message: nothing else was under way. */
async function isQuiet(wire: Wire): Promise<void> {
  wire.send({ type: 'ping' });
  expect(await wire.next()).toEqual({ type: 'pong' });
}

describe('a message that is no message of the protocol closes the socket with 4400', () => {
  it.each([
    ['null', 'null'],
    ['a number', '1'],
    ['a text', '"ping"'],
    ['no text at all', ''],
    ['a type that is no text', '{"type":1}'],
    ['a message that only a server sends: error', '{"type":"error","id":"1","payload":[]}'],
    ['a ping whose payload is no object', '{"type":"ping","payload":"x"}'],
    ['a pong whose payload is no object', '{"type":"pong","payload":1}'],
    ['a connection_init whose payload is no object', '{"type":"connection_init","payload":"x"}'],
    ['a complete without id', '{"type":"complete"}'],
    ['a complete with an empty id', '{"type":"complete","id":""}'],
    ['a subscribe whose id is no text', `{"type":"subscribe","id":1,"payload":{"query":"${viewer}"}}`],
    ['a subscribe without payload', '{"type":"subscribe","id":"1"}'],
    ['a subscribe without query', '{"type":"subscribe","id":"1","payload":{}}'],
    ['variables that are no object', `{"type":"subscribe","id":"1","payload":{"query":"${viewer}","variables":"x"}}`],
    ['a name that is no text', `{"type":"subscribe","id":"1","payload":{"query":"${viewer}","operationName":1}}`],
    ['extensions that are no object', `{"type":"subscribe","id":"1","payload":{"query":"${viewer}","extensions":1}}`],
  ])('%s', async (_what, message) => {
    const wire = await openWire(api.url);
    wire.send(message);
    expect((await wire.closed).code).toBe(4400);
  });

  it('bytes that are no JSON, in a binary frame', async () => {
    const wire = await openWire(api.url);
    wire.socket.send(Buffer.from([0, 255, 1]), { binary: true });
    expect((await wire.closed).code).toBe(4400);
  });

  it('also after the acknowledgement, with operations under way', async () => {
    const wire = await connect();
    wire.send({ id: '1', type: 'subscribe', payload: { query: ticks } });
    wire.send('{"type":"start","id":"2"}');
    expect((await wire.closed).code).toBe(4400);
  });
});

describe('before connection_init', () => {
  it('a ping is answered', async () => {
    const wire = await openWire(api.url);
    await isQuiet(wire);
    await wire.close();
  });

  it('a pong that nobody asked for is taken, and a complete of nothing too', async () => {
    const wire = await openWire(api.url);
    wire.send({ type: 'pong' });
    wire.send({ type: 'complete', id: '1' });
    await isQuiet(wire);
    await wire.close();
  });

  it('the subprotocol agreed on is graphql-transport-ws, also when others are offered with it', async () => {
    const wire = await openWire(api.url, { protocol: ['graphql-ws', 'graphql-transport-ws'] });
    expect(wire.socket.protocol).toBe('graphql-transport-ws');
    await wire.close();
  });

  it('the older subprotocol alone is not acceptable', async () => {
    const wire = await openWire(api.url, { protocol: ['graphql-ws'] }).catch((cause: unknown) => cause);
    if (wire instanceof Error) expect(wire.message).toMatch(/subprotocol/i);
    else expect((await (wire as Wire).closed).code).toBe(4406);
  });
});

describe('a connection', () => {
  const init = async (): Promise<object> => ({
    type: 'connection_init',
    payload: { authorization: `Bearer ${await api.token()}` },
  });

  it('is acknowledged once, with no more than the protocol has', async () => {
    const wire = await openWire(api.url);
    wire.send(await init());
    expect(await wire.next()).toEqual({ type: 'connection_ack' });
    await isQuiet(wire);
    await wire.close();
  });

  it('may be asked for without payload, with the token in the upgrade’s header', async () => {
    const wire = await openWire(api.url, { headers: { authorization: `Bearer ${await api.token()}` } });
    wire.send({ type: 'connection_init' });
    expect((await wire.next()).type).toBe('connection_ack');
    await wire.close();
  });

  it('asked for twice, also before the first is acknowledged, closes the socket with 4429 and says why', async () => {
    const wire = await openWire(api.url);
    wire.send(await init());
    wire.send(await init());
    expect(await wire.closed).toEqual({ code: 4429, reason: 'Too many initialisation requests' });
  });

  it('that is asked for but not acknowledged yet serves no operation: 4401', async () => {
    const wire = await openWire(api.url);
    wire.send(await init());
    wire.send({ id: '1', type: 'subscribe', payload: { query: viewer } });
    expect(await wire.closed).toEqual({ code: 4401, reason: 'Unauthorized' });
  });

  it('that is refused is never acknowledged', async () => {
    const wire = await openWire(api.url);
    wire.send({ type: 'connection_init', payload: { authorization: 'Bearer x' } });
    await expect(wire.next()).rejects.toThrow(/4403/);
  });

  it('ends with the socket that the client closes normally, and its operations with it', async () => {
    Object.assign(subscriptions, { opened: 0, closed: 0 });
    const wire = await connect();
    wire.send({ id: '1', type: 'subscribe', payload: { query: ticks } });
    await wire.next();
    wire.socket.close(1000, 'Normal Closure');
    expect((await wire.closed).code).toBe(1000);
    await vi.waitFor(() => expect(subscriptions).toMatchObject({ opened: 1, closed: 1 }), { timeout: 20_000 });
  });
});

describe('an id', () => {
  it('in use by a subscription closes the socket with 4409, and the reason names it', async () => {
    const wire = await connect();
    wire.send({ id: 'mine', type: 'subscribe', payload: { query: ticks } });
    await wire.next();
    wire.send({ id: 'mine', type: 'subscribe', payload: { query: ticks } });
    expect(await wire.closed).toEqual({ code: 4409, reason: 'Subscriber for mine already exists' });
  });

  it.each([['x'.repeat(400)], ['😀'.repeat(100)]])('too long for a reason is cut short in it', async (id) => {
    const wire = await connect();
    wire.send({ id, type: 'subscribe', payload: { query: ticks } });
    await wire.next();
    wire.send({ id, type: 'subscribe', payload: { query: ticks } });
    const { code, reason } = await wire.closed;
    expect([code, reason.slice(0, 17), reason.at(-1)]).toEqual([4409, `Subscriber for ${id.slice(0, 2)}`, '…']);
  });

  it('may be any text, and comes back as it was', async () => {
    const wire = await connect();
    for (const id of ['"', '\n', '😀', '__proto__', 'constructor', '0']) {
      const messages = await runOverWire(wire, id, { query: 'subscription { three }' });
      expect(messages.map((message) => [message.type, message.id])).toEqual([
        ['next', id],
        ['next', id],
        ['next', id],
        ['complete', id],
      ]);
    }
    await wire.close();
  });

  it('is free at once when the client has completed its operation, and what comes behind keeps its order', async () => {
    const wire = await connect();
    for (let i = 0; i < 20; i += 1) {
      wire.send({ id: '1', type: 'subscribe', payload: { query: ticks } });
      await wire.next();
      wire.send({ id: '1', type: 'complete' });
      wire.send({ id: '1', type: 'subscribe', payload: { query: 'subscription { three }' } });
      wire.send({ type: 'ping' });
      const messages = [];
      for (let left = 5; left > 0; left -= 1) messages.push((await wire.next()).type);
      expect(messages.filter((type) => type !== 'pong')).toEqual(['next', 'next', 'next', 'complete']);
    }
    await wire.close();
  });

  it('used again may be completed again before it has begun, and is free then too', async () => {
    const wire = await connect();
    for (let i = 0; i < 10; i += 1) {
      wire.send({ id: '1', type: 'subscribe', payload: { query: ticks } });
      wire.send({ id: '1', type: 'complete' });
    }
    wire.send({ id: '1', type: 'subscribe', payload: { query: viewer } });
    wire.send({ id: '2', type: 'subscribe', payload: { query: viewer } });
    const seen: string[] = [];
    while (seen.filter((each) => each.endsWith('complete')).length < 2) {
      const { id = '', type } = await wire.next();
      seen.push(`${id} ${type}`);
    }
    expect(seen.filter((each) => each.startsWith('2'))).toEqual(['2 next', '2 complete']);
    expect(seen.filter((each) => each === '1 complete')).toHaveLength(1);
    await isQuiet(wire);
    await wire.close();
  });
});

describe('an operation', () => {
  it('that is a query sends one next and then complete, with its id', async () => {
    const wire = await connect();
    const messages = await runOverWire(wire, 'an id of the client’s', { query: viewer });
    expect(messages.map(({ type, id }) => [type, id])).toEqual([
      ['next', 'an id of the client’s'],
      ['complete', 'an id of the client’s'],
    ]);
    await wire.close();
  });

  it('that is refused before execution ends with one error and no complete, and the socket goes on', async () => {
    const wire = await connect();
    wire.send({ id: '1', type: 'subscribe', payload: { query: '{ nothing }' } });
    const refused = await wire.next();
    expect(refused).toMatchObject({ type: 'error', id: '1', payload: [{ message: expect.any(String) as string }] });
    await isQuiet(wire);
    await wire.close();
  });

  it('may leave out or null its name and variables, and bring extensions', async () => {
    const wire = await connect();
    for (const more of [{}, { operationName: null, variables: null }, { extensions: {} }]) {
      const messages = await runOverWire(wire, '1', { query: viewer, ...more });
      expect(messages.map(({ type }) => type)).toEqual(['next', 'complete']);
    }
    await wire.close();
  });

  it('that fails while it runs sends its errors in a next, and then completes', async () => {
    const wire = await connect();
    const messages = await runOverWire(wire, '1', { query: '{ broken viewer { agency } }' });
    expect(messages.map(({ type }) => type)).toEqual(['next', 'complete']);
    expect(messages[0]?.payload).toMatchObject({ data: { broken: null, viewer: { agency: 'nasa' } } });
    await wire.close();
  });

  it('of a subscription whose source ends is completed by the server, once and last', async () => {
    const wire = await connect();
    const messages = await runOverWire(wire, '1', { query: 'subscription { three }' });
    expect(messages.map(({ type }) => type)).toEqual(['next', 'next', 'next', 'complete']);
    await isQuiet(wire);
    wire.send({ id: '1', type: 'complete' });
    await isQuiet(wire);
    await wire.close();
  });

  it('that does not parse ends with an error as well', async () => {
    const wire = await connect();
    const messages = await runOverWire(wire, '1', { query: '{' });
    expect(messages.map(({ type }) => type)).toEqual(['error']);
    await wire.close();
  });

  it('may use an id again after complete, and after error', async () => {
    const wire = await connect();
    for (const query of [viewer, '{ nothing }', viewer]) {
      const messages = await runOverWire(wire, '1', { query });
      expect(messages.at(-1)?.type).toBe(query === viewer ? 'complete' : 'error');
    }
    await wire.close();
  });

  it('may come in a binary frame', async () => {
    const wire = await connect();
    const message = { id: '1', type: 'subscribe', payload: { query: viewer } };
    wire.socket.send(Buffer.from(JSON.stringify(message)), { binary: true });
    expect([(await wire.next()).type, (await wire.next()).type]).toEqual(['next', 'complete']);
    await wire.close();
  });

  it('that the client has completed says nothing more, also when both cross on the wire', async () => {
    const wire = await connect();
    await runOverWire(wire, 'before', { query: viewer });
    wire.send({ id: '1', type: 'subscribe', payload: { query: ticks } });
    wire.send({ id: '1', type: 'complete' });
    wire.send({ id: '1', type: 'complete' });
    wire.send({ type: 'ping' });
    let message = await wire.next();
    while (message.type !== 'pong') message = await wire.next();
    await isQuiet(wire);
    await wire.close();
  });

  it('is one of several that run beside each other, each answered under its own id', async () => {
    const wire = await connect();
    const ids = ['a', 'b', 'c'];
    for (const id of ids) wire.send({ id, type: 'subscribe', payload: { query: viewer } });
    const seen = new Map<string, string[]>();
    for (let left = ids.length * 2; left > 0; left -= 1) {
      const { id = '', type } = await wire.next();
      seen.set(id, [...(seen.get(id) ?? []), type]);
    }
    for (const id of ids) expect(seen.get(id)).toEqual(['next', 'complete']);
    await wire.close();
  });
});

describe('a reason', () => {
  it('of 4400 says that the message is invalid, in at most the 123 bytes of a close frame', async () => {
    const wire = await openWire(api.url);
    wire.send(JSON.stringify({ type: 'x'.repeat(4_000) }));
    const { code, reason } = await wire.closed;
    expect(code).toBe(4400);
    expect(reason).toMatch(/invalid/i);
    expect(Buffer.byteLength(reason)).toBeLessThanOrEqual(123);
  });
});

describe('a ping', () => {
  it('with an empty payload is answered with a pong', async () => {
    const wire = await connect();
    wire.send({ type: 'ping', payload: {} });
    expect((await wire.next()).type).toBe('pong');
    await wire.close();
  });
});
