/** The SDK's streams against the API: over cuts, blocked ways and refused tokens every event comes once and in order. */
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { type ConnectionState, createFlux, type Flux, isFluxError, type RunEventItem, successOf } from '#sdk';
import { useDatabase } from '../support/database.ts';
import { definitions, history, serveApi, storedSeqs } from '../support/served-api.ts';
import { eventStream, startTcpProxy, type TcpProxy, webSocketUpgrade } from '../support/tcp-proxy.ts';

const database = useDatabase();
const api = serveApi(database);
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  const admin = createFlux({ url: api.url, token: 'nasa/admin' });
  successOf(await admin.api.registerConnection({ definition: definitions.connection }));
  successOf(await admin.api.registerContract({ name: 'reading', document: definitions.contract }));
  successOf(await admin.api.registerPipeline({ definition: definitions.pipeline }));
  admin.close();
});

async function newRun(): Promise<{ id: string; runId: string }> {
  const flux = client({ url: api.url });
  return successOf(await flux.api.startRun({ pipeline: 'readings' }));
}

function client(options: Partial<Parameters<typeof createFlux>[0]> & { url: string }): Flux {
  const flux = createFlux({ token: 'nasa/operator', pollIntervalMs: 50, ...options });
  cleanups.push(() => flux.close());
  return flux;
}

async function proxy(): Promise<TcpProxy> {
  const started = await startTcpProxy(() => api.port);
  cleanups.push(() => started.close());
  return started;
}

const seqs = (items: readonly RunEventItem[]): string[] => items.flatMap((item) => ('seq' in item ? [item.seq] : []));

/** Collects a stream to its end. `then` sees each item as it comes. */
async function collect<T>(stream: AsyncIterable<T>, then: (item: T, all: readonly T[]) => unknown = () => undefined) {
  const items: T[] = [];
  for await (const item of stream) {
    items.push(item);
    await then(item, items);
  }
  return items;
}

describe('flux.runs.watch', () => {
  it('hands a newer token to the open socket before the old one ends, again and again, without a break', async () => {
    const { id, runId } = await newRun();
    const way = await proxy();
    const run = history(database, 'nasa', runId);
    const reasons: string[] = [];
    // The API reads the part up to the third slash; to the client it says that it ends in two seconds.
    const token = ({ reason }: { reason: string }): string => {
      reasons.push(reason);
      const exp = Date.now() / 1_000 + 2;
      return `nasa/operator/${String(600 + reasons.length)}/.${btoa(JSON.stringify({ exp }))}`;
    };
    const flux = client({ url: way.url, token, transports: ['websocket'] });
    const watching = collect(flux.runs.watch(id));
    await run.start();
    await expect.poll(() => reasons.length, { timeout: 60_000 }).toBeGreaterThan(3);
    await run.complete();
    expect(seqs(await watching)).toEqual(await storedSeqs(database, runId));
    // Only after the server has taken one is the next asked for.
    expect(reasons.slice(0, 4)).toEqual(['first', 'expiring', 'expiring', 'expiring']);
    expect(reasons).not.toContain('refused');
    expect(way.passed).toBe(1);
  });

  it('delivers a run that is over, and ends with StreamEnd', async () => {
    const { id, runId } = await newRun();
    const run = history(database, 'nasa', runId);
    await run.start();
    await run.batches(3);
    await run.complete();
    const items = await collect(client({ url: api.url }).runs.watch(id));
    expect(seqs(items)).toEqual(await storedSeqs(database, runId));
    expect(items.at(-1)).toMatchObject({ __typename: 'StreamEnd', status: 'COMPLETED', attempt: 1 });
  });

  it('goes on after a cursor', async () => {
    const { id, runId } = await newRun();
    const run = history(database, 'nasa', runId);
    await run.start();
    await run.batches(4);
    await run.complete();
    const flux = client({ url: api.url });
    const all = await collect(flux.runs.watch(id));
    const rest = await collect(flux.runs.watch(id, { after: all[2]?.cursor ?? null }));
    expect(rest).toEqual(all.slice(3));
  });

  it.each([
    ['WebSocket', null],
    ['event streams', webSocketUpgrade],
    ['polling', /upgrade: websocket|accept: text\/event-stream/i],
  ] as const)('delivers each event once and in order over %s, cut again and again', async (way, blocked) => {
    const cutter = await proxy();
    cutter.block(blocked);
    const { id, runId } = await newRun();
    const run = history(database, 'nasa', runId);
    const states: ConnectionState[] = [];
    const flux = client({ url: cutter.url, onConnection: (state) => states.push(state) });
    let cuts = 0;
    const write = async (): Promise<void> => {
      await run.start();
      for (let round = 0; round < 6; round += 1) {
        await run.batches(15);
        cuts += cutter.cut();
      }
      await run.complete();
    };
    const [items] = await Promise.all([collect(flux.runs.watch(id)), write()]);
    expect(seqs(items)).toEqual(await storedSeqs(database, runId));
    expect(items.filter(({ __typename }) => __typename === 'StreamEnd')).toHaveLength(1);
    expect(cuts).toBeGreaterThan(0);
    const transports = new Set(states.flatMap((state) => (state.status === 'live' ? [state.transport] : [])));
    expect([...transports]).toContain({ WebSocket: 'websocket', 'event streams': 'sse', polling: 'polling' }[way]);
  });

  it('takes the next way when the one it had is closed to it', async () => {
    const cutter = await proxy();
    const { id, runId } = await newRun();
    const run = history(database, 'nasa', runId);
    await run.start();
    const lives: string[] = [];
    const flux = client({ url: cutter.url });
    const stream = flux.runs.watch(id, {
      onConnection: (state) => state.status === 'live' && lives.push(state.transport),
    });
    const items = await collect(stream, async (_item, all) => {
      if (all.length === 2) {
        cutter.block(webSocketUpgrade);
        cutter.cut();
        await run.batches(2);
      } else if (all.length === 4) {
        cutter.block(new RegExp(`${webSocketUpgrade.source}|${eventStream.source}`, 'i'));
        cutter.cut();
        await run.batches(1);
        await run.complete();
      }
    });
    expect(lives).toEqual(['websocket', 'sse', 'polling']);
    expect(seqs(items)).toEqual(await storedSeqs(database, runId));
  });

  it('asks for another token when the first is refused, and when its time is over on the way', async () => {
    const { id, runId } = await newRun();
    const run = history(database, 'nasa', runId);
    await run.start();
    api.refused.add('nasa/viewer');
    cleanups.push(() => api.refused.clear());
    const given = ['nasa/viewer', 'nasa/operator/2', 'nasa/operator'];
    const reasons: string[] = [];
    const flux = client({
      url: api.url,
      token: ({ reason }) => {
        reasons.push(reason);
        return given.shift() ?? '';
      },
    });
    // The second token lasts two seconds; then the server ends the socket with 4403.
    const write = async (): Promise<void> => {
      await expect.poll(() => reasons.length, { timeout: 20_000 }).toBe(3);
      await run.batches(2);
      await run.complete();
    };
    const [items] = await Promise.all([collect(flux.runs.watch(id)), write()]);
    expect(seqs(items)).toEqual(await storedSeqs(database, runId));
    expect(reasons).toEqual(['first', 'refused', 'refused']);
  });

  it('throws what no other try can change', async () => {
    const flux = client({ url: api.url });
    const missing = '00000000-0000-7000-8000-000000000000';
    for (const transports of [['websocket'], ['sse'], ['polling']] as const) {
      const stream = client({ url: api.url, transports }).runs.watch(missing);
      await expect(stream.next()).rejects.toSatisfy((error) => isFluxError(error, 'NOT_FOUND'));
    }
    api.refused.add('nasa/operator');
    cleanups.push(() => api.refused.clear());
    await expect(flux.runs.watch(missing).next()).rejects.toSatisfy((error) => isFluxError(error, 'UNAUTHENTICATED'));
  });

  it('ends at once when its signal aborts, although nothing happens', async () => {
    const { id } = await newRun();
    for (const transports of [['websocket'], ['sse'], ['polling']] as const) {
      const stop = new AbortController();
      const stream = client({ url: api.url, transports }).runs.watch(id, { signal: stop.signal });
      expect((await stream.next()).value).toMatchObject({ __typename: 'RunQueued' });
      const waiting = stream.next();
      stop.abort();
      expect(await waiting).toEqual({ done: true, value: undefined });
    }
  });

  it('says that it is reconnecting and then stale, and gives up when asked to', async () => {
    const cutter = await proxy();
    const { id } = await newRun();
    const states: string[] = [];
    const flux = client({ url: cutter.url, staleAfterMs: 300 });
    const stream = flux.runs.watch(id, {
      onConnection: ({ status }) => states.push(status),
      giveUpAfterMs: 1_000,
    });
    await stream.next();
    const waiting = stream.next();
    cutter.block(/./);
    cutter.cut();
    await expect(waiting).rejects.toSatisfy((error) => isFluxError(error, 'UNAVAILABLE'));
    expect(states).toEqual(['live', 'reconnecting', 'stale']);
  });
});

describe('flux.runs.progress', () => {
  it.each([['websocket'], ['sse'], ['polling']] as const)('ends with the run over %s', async (transport) => {
    const { id, runId } = await newRun();
    const run = history(database, 'nasa', runId);
    await run.start();
    const flux = client({ url: api.url, transports: [transport] });
    const snapshots = await collect(flux.runs.progress(id), async (_item, all) => {
      if (all.length === 1) await run.complete();
    });
    expect(snapshots.at(-1)).toMatchObject({ runId, status: 'COMPLETED' });
  });
});

describe('flux.runs.changes', () => {
  it.each([['websocket'], ['sse'], ['polling']] as const)(
    'tells of each run’s newest state over %s',
    async (transport) => {
      const flux = client({ url: api.url, transports: [transport] });
      let live = (): void => undefined;
      const isLive = new Promise<void>((resolve) => (live = resolve));
      const changes = flux.runs.changes({ onConnection: ({ status }) => status === 'live' && live() });
      const states: string[] = [];
      const read = async (): Promise<void> => {
        for await (const { run } of changes) {
          states.push(`${run.runId} ${run.status}`);
          if (run.status === 'COMPLETED') return;
        }
      };
      const reading = read();
      await isLive;
      const { runId } = await newRun();
      const run = history(database, 'nasa', runId);
      await run.start();
      await run.complete();
      await reading;
      expect(states.at(-1)).toBe(`${runId} COMPLETED`);
    },
  );
});
