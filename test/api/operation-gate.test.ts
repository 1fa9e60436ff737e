import { describe, expect, it, vi } from 'vitest';

import { createOperationGate, usualGateLimits } from '../../src/server/operation-gate.ts';
import { openEvents, runOverEvents } from './event-wire.ts';
import { askRest } from './rest-wire.ts';
import { serveSchema } from './serve.ts';
import { subscriptions, testSchema, tick } from './test-schema.ts';
import { connectWire, runOverWire } from './wire.ts';

const asked = { query: '{ viewer { agency } }' };
const slow = { query: '{ slow }' };
const forget = () => Object.assign(subscriptions, { opened: 0, closed: 0 });
const gate = { ...usualGateLimits, executionMs: 300 };

describe('an operation that takes too long', () => {
  const api = serveSchema(testSchema, { gateLimits: gate });

  it('is ended on every transport, and what it waits for hears of it', async () => {
    forget();
    const token = await api.token();
    const http = await api.ask(slow);
    expect(http).toMatchObject({ status: 429, body: { errors: [{ extensions: { code: 'LIMIT_EXCEEDED' } }] } });
    const [event] = await runOverEvents(api.url, token, slow);
    expect(event?.data?.errors?.[0]?.extensions['code']).toBe('LIMIT_EXCEEDED');
    const wire = await connectWire(api.url, token);
    const [message] = await runOverWire(wire, '1', slow);
    expect(message?.payload?.errors?.[0]?.extensions?.['code']).toBe('LIMIT_EXCEEDED');
    const problem = await askRest(api.url, token, { method: 'GET', path: '/slow' });
    expect(problem).toMatchObject({ status: 429, body: { code: 'LIMIT_EXCEEDED' } });
    expect(subscriptions).toMatchObject({ opened: 4, closed: 4 });
    expect((await runOverWire(wire, '2', asked))[0]?.payload?.data).toEqual({ viewer: { agency: 'nasa' } });
    await wire.close();
  });

  it('does not end a subscription that lasts', async () => {
    const wire = await connectWire(api.url, await api.token());
    wire.send({ id: '1', type: 'subscribe', payload: { query: 'subscription { ticks }' } });
    await wire.next();
    expect((await api.ask(slow)).status).toBe(429); // 300 ms have passed
    tick();
    expect((await wire.next()).payload).toMatchObject({ data: { ticks: 2 } });
    await wire.close();
  });
});

describe('the operations of one agency', () => {
  const api = serveSchema(testSchema, {
    // Long enough that on no machine the time limit ends what must still be running.
    gateLimits: { ...usualGateLimits, runningMax: 2, waitingMax: 1, executionMs: 60_000 },
  });

  it('count alike whatever carries them: REST takes a place, waits for one, and is refused', async () => {
    forget();
    const token = await api.token();
    const leaving = new AbortController();
    const leave = (): void => leaving.abort();
    const slowly = { method: 'GET', path: '/slow' } as const;
    const quickly = { method: 'GET', path: '/viewer' } as const;
    const running = [1, 2].map(() =>
      askRest(api.url, token, slowly, { signal: leaving.signal }).catch((cause: unknown) => cause),
    );
    await vi.waitFor(() => expect(subscriptions.opened).toBe(2), { timeout: 20_000 });
    const asking = [askRest(api.url, token, quickly), askRest(api.url, token, quickly)];
    const [refused, waiting] = await Promise.race(
      asking.map(async (answer, i) => [await answer, asking[1 - i] as (typeof asking)[number]] as const),
    );
    expect(refused).toMatchObject({ status: 429, body: { code: 'LIMIT_EXCEEDED' } });
    // Nor does a place come free for GraphQL.
    expect((await api.ask(asked)).status).toBe(429);
    leave();
    expect((await waiting).body).toMatchObject({ agency: 'nasa' });
    await Promise.all(running);
    await vi.waitFor(() => expect(subscriptions.closed).toBe(2), { timeout: 20_000 });
  });

  it('wait for their turn, are refused beyond that, and do not touch another agency’s', async () => {
    forget();
    const wire = await connectWire(api.url, await api.token());
    const events = await openEvents(api.url, await api.token(), slow);
    wire.send({ id: '1', type: 'subscribe', payload: slow });
    await vi.waitFor(() => expect(subscriptions.opened).toBe(2), { timeout: 20_000 });
    // Of two more, one gets the only place to wait in; the other is refused at once, and so answers first.
    const asking = [api.ask(asked), api.ask(asked)];
    const [refused, waiting] = await Promise.race(
      asking.map(async (answer, i) => [await answer, asking[1 - i] as (typeof asking)[number]] as const),
    );
    expect(refused).toMatchObject({ status: 429, body: { errors: [{ extensions: { code: 'LIMIT_EXCEEDED' } }] } });
    const other = await api.ask(asked, { authorization: `Bearer ${await api.token({ agency: 'noaa' })}` });
    expect(other.body.data).toEqual({ viewer: { agency: 'noaa' } });
    events.leave();
    expect((await waiting).body.data).toEqual({ viewer: { agency: 'nasa' } });
    await wire.close();
  });
});

describe('the bucket of an agency', () => {
  const limits = { ...usualGateLimits, ratePerSecond: 10, burst: 3 };

  it('lets a burst pass, then the rate, and fills no higher than the burst', async () => {
    let ms = 0;
    const bucket = createOperationGate(limits, () => ms);
    const pass = async (): Promise<boolean> =>
      bucket
        .run('nasa', () => true)
        .catch((cause: { code: string }) => {
          expect(cause.code).toBe('LIMIT_EXCEEDED');
          return false;
        });
    const passed = async (count: number) => {
      let n = 0;
      for (let i = 0; i < count; i++) n += (await pass()) ? 1 : 0;
      return n;
    };
    expect(await passed(5)).toBe(3);
    ms += 100;
    expect(await passed(5)).toBe(1);
    ms += 60_000;
    expect(await passed(10)).toBe(3);
  });

  it('is forgotten once it is full and nobody is in it', async () => {
    let ms = 0;
    const bucket = createOperationGate(limits, () => ms);
    await bucket.run('nasa', () => true);
    ms += 1_000;
    await bucket.run('noaa', () => true);
    expect(bucket.agencies()).toBe(1);
  });
});

describe('a production server', () => {
  const api = serveSchema(testSchema, { environment: 'production' });

  it('promises HTTPS for a year, on answers and streams alike, and lets nothing be stored', async () => {
    const token = await api.token();
    const stream = await openEvents(api.url, token, asked);
    const answer = await fetch(`${api.url}/health/live`);
    for (const { headers } of [stream.response, answer]) {
      expect(headers.get('strict-transport-security')).toBe('max-age=31536000; includeSubDomains');
      expect(headers.get('cache-control')).toBe('no-store');
    }
  });
});
