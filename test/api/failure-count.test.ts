/** `flux_errors_total` counts each failure that a client is told once, whatever carries it and however many fields it fails. */
import { describe, expect, it, vi } from 'vitest';

import { usualGateLimits } from '../../src/server/operation-gate.ts';
import { registry } from '../../src/telemetry/metrics.ts';
import { serveSchema } from './serve.ts';
import { subscriptions, testSchema } from './test-schema.ts';
import { connectWire, runOverWire } from './wire.ts';
import { runOverEvents } from './event-wire.ts';

vi.setConfig({ testTimeout: 60_000 });

async function counts(): Promise<Record<string, number>> {
  const metric = (await registry.getSingleMetric('flux_errors_total')?.get())?.values ?? [];
  return Object.fromEntries(metric.map(({ labels, value }) => [String(labels['class']), value]));
}

/** What an action adds, of what it adds anything to. */
async function added(action: () => Promise<unknown>): Promise<Record<string, number>> {
  const before = await counts();
  await action();
  const after = await counts();
  return Object.fromEntries(
    Object.entries(after).flatMap(([name, n]) => (n === before[name] ? [] : [[name, n - (before[name] ?? 0)]])),
  );
}

describe('a failure is counted once', () => {
  const api = serveSchema(testSchema);

  it('when one cause fails several fields, which then all show its id', async () => {
    const query = '{ a: together b: together c: together }';
    const token = await api.token();
    const wire = await connectWire(api.url, token);
    const ids: unknown[][] = [];
    const note = (errors: { extensions?: Record<string, unknown> }[] | undefined) =>
      ids.push((errors ?? []).map(({ extensions }) => extensions?.['errorId']));
    const counted = [
      await added(async () => note((await api.ask({ query })).body.errors)),
      await added(async () => note((await runOverEvents(api.url, token, { query }))[0]?.data?.errors)),
      await added(async () => note((await runOverWire(wire, '1', { query }))[0]?.payload?.errors)),
    ];
    await wire.close();
    expect(counted).toEqual([{ TERMINAL: 1 }, { TERMINAL: 1 }, { TERMINAL: 1 }]);
    expect(ids.map((of) => [of.length, new Set(of).size])).toEqual([
      [3, 1],
      [3, 1],
      [3, 1],
    ]);
    expect(new Set(ids.flat()).size).toBe(3);
  });

  it('and two of two causes are two', async () => {
    expect(await added(() => api.ask({ query: '{ a: broken b: broken }' }))).toEqual({ TERMINAL: 2 });
  });

  it('when it is a refusal before any resolver', async () => {
    expect(await added(() => api.ask({ query: '{ nothing }' }))).toEqual({ VALIDATION: 1 });
    expect(await added(() => api.ask({ query: '{ viewer { agency } }' }, { authorization: 'no' }))).toEqual({
      AUTHENTICATION: 1,
    });
  });
});

describe('an operation that is ended for its length', () => {
  const api = serveSchema(testSchema, { gateLimits: { ...usualGateLimits, executionMs: 300 } });

  it('is counted as that, and what its end made of it is not', async () => {
    const token = await api.token();
    const wire = await connectWire(api.url, token);
    const query = '{ late }';
    for (const ask of [
      () => api.ask({ query }),
      () => runOverEvents(api.url, token, { query }),
      () => runOverWire(wire, '1', { query }),
    ]) {
      Object.assign(subscriptions, { opened: 0, closed: 0 });
      const counted = await added(async () => {
        await ask();
        await vi.waitFor(() => expect(subscriptions).toMatchObject({ opened: 1, closed: 1 }), { timeout: 20_000 });
        // One more round trip: what the end of the first makes is over by then.
        await api.ask({ query: '{ viewer { agency } }' });
      });
      expect(counted).toEqual({ VALIDATION: 1 });
    }
    await wire.close();
  });
});
