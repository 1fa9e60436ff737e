/** Hints over a real Redis (or Valkey) server: they wake, they say nothing of a tenant, and losing them loses nothing. */
import { createClient } from '@redis/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { channels, notifyThrough, oneByOne } from '../../src/db/notify.ts';
import { createAnnouncer } from '../../src/events/announce.ts';
import { follow, type RunEventItem } from '../../src/events/follow.ts';
import { startHints } from '../../src/events/listen.ts';
import { startBell } from '../../src/queue/bell.ts';
import { startRedisHints, type RedisHints } from '../../src/redis/redis-hints.ts';
import { metrics } from '../../src/telemetry/metrics.ts';
import { append, completes, quiet, starts } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';
import { createRedis, findRedisServer, type TestRedis } from '../support/redis.ts';

const database = useDatabase();
const program = await findRedisServer();
const patiently = { timeout: 60_000 };
let redis: TestRedis;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  await database.addAgency('nasa');
  if (program !== null) redis = await createRedis(program);
});
beforeEach(async (context) => {
  if (program === null) return context.skip('neither redis-server nor valkey-server is installed');
  await redis.start();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  if (program !== null) await redis.kill();
});
afterAll(async () => {
  if (program !== null) await redis.remove();
});

/** One process's way to Redis. */
function way(): RedisHints {
  const hints = startRedisHints({ url: `redis://127.0.0.1:${String(redis.port)}`, logger: quiet });
  cleanups.push(() => hints.stop());
  return hints;
}

function listen(over = way()) {
  const hints = startHints({ url: 'postgres://nobody@127.0.0.1:1/none', open: over.open, logger: quiet });
  cleanups.push(() => hints.stop());
  return hints;
}

async function startedRun(): Promise<string> {
  const { runId } = await insertRun(database, 'nasa');
  await append(database, 'nasa', runId, [{ name: 'RunStarted', message: 'started' }], starts);
  return runId;
}

const batch = (runId: string): Promise<void> =>
  append(database, 'nasa', runId, [{ name: 'BatchCommitted', message: 'a batch' }]);
const finish = (runId: string): Promise<void> =>
  append(database, 'nasa', runId, [{ name: 'RunCompleted', message: 'done' }], completes);

/** Follows a run in the way of a process whose hints these are. */
function reader(runId: string, hints: ReturnType<typeof startHints>, pollMs: number) {
  const deps = { pool: database.apiPool(), hints, logger: quiet, pollMs };
  const signal = new AbortController().signal;
  const stream = follow(deps, { sealed: () => database.tenant('nasa'), runId, afterSeq: 0n, signal });
  const items: RunEventItem[] = [];
  const ended = (async () => {
    for await (const item of stream) items.push(item);
  })();
  cleanups.push(() => stream.return());
  return { items, ended };
}

const seqs = (items: readonly RunEventItem[]): bigint[] => items.flatMap((item) => ('seq' in item ? [item.seq] : []));
const upTo = (n: number): bigint[] => Array.from({ length: n }, (_, i) => BigInt(i + 1));
const never = 3_600_000;

describe('hints over Redis', () => {
  it('wake readers of another process, which no poll would do within the hour', async () => {
    const [hints, sender] = [listen(), way()];
    await hints.listening();
    const runId = await startedRun();
    const { items, ended } = reader(runId, hints, never);
    await expect.poll(() => items.length, patiently).toBe(1);
    const announcer = createAnnouncer(oneByOne(sender.send), () => undefined);
    cleanups.push(() => announcer.stop());
    await expect
      .poll(
        () =>
          sender.check().then(
            () => true,
            () => false,
          ),
        patiently,
      )
      .toBe(true);
    for (let n = 2; n <= 10; n += 1) {
      await batch(runId);
      announcer.run(runId);
      await expect.poll(() => items.length, patiently).toBe(n);
    }
    await finish(runId);
    announcer.run(runId);
    await ended;
    expect(seqs(items)).toEqual(upTo(11));
    expect(items.at(-1)).toMatchObject({ kind: 'end', status: 'COMPLETED' });
    expect(hints.stats()).toMatchObject({ reconnects: 0, backstopFinds: 0 });
  });

  it('say no more than an opaque id, on two channels', async () => {
    const spy = createClient({ url: `redis://127.0.0.1:${String(redis.port)}` });
    await spy.connect();
    cleanups.push(() => spy.destroy());
    const heard: string[] = [];
    await spy.pSubscribe('*', (message, channel) => heard.push(`${channel} ${message}`));
    const over = way();
    await expect
      .poll(
        () =>
          over.check().then(
            () => true,
            () => false,
          ),
        patiently,
      )
      .toBe(true);
    const announcer = createAnnouncer(oneByOne(over.send), () => undefined);
    for (let i = 0; i < 5; i += 1) {
      announcer.run('018f0000-0000-7000-8000-000000000001');
      announcer.work();
    }
    await announcer.stop();
    await expect.poll(() => heard.length, patiently).toBe(2);
    expect(heard.sort()).toEqual(['flux_run_events 018f0000-0000-7000-8000-000000000001', 'flux_work ']);
    // Nothing is kept either.
    const plain = createClient({ url: `redis://127.0.0.1:${String(redis.port)}` });
    await plain.connect();
    cleanups.push(() => plain.destroy());
    expect(await plain.dbSize()).toBe(0);
  });

  it('ring the bell of a worker that waits', async () => {
    const over = way();
    const bell = startBell({ url: 'postgres://nobody@127.0.0.1:1/none', open: over.open, onError: () => undefined });
    cleanups.push(() => bell.stop());
    let rung = false;
    const waiting = bell.wait(never, new AbortController().signal).then(() => (rung = true));
    // The bell may not hang yet, so it is rung until it is heard.
    await expect
      .poll(async () => {
        await over.send(channels.work);
        return rung;
      }, patiently)
      .toBe(true);
    await waiting;
  });

  it('lose nothing when Redis is killed in the middle of a run, are counted meanwhile, and come back with it', async () => {
    const [over, sender] = [way(), way()];
    const hints = listen(over);
    await hints.listening();
    const runId = await startedRun();
    const { items, ended } = reader(runId, hints, 1_000);
    await batch(runId);
    await sender.send(channels.runEvents, runId);
    await expect.poll(() => items.length, patiently).toBe(2);

    await redis.kill();
    await expect.poll(() => hints.stats().listening, patiently).toBe(false);
    const unsent = await valueOf(metrics.hintsUnsent);
    await expect(over.check()).rejects.toThrow();
    // A poll that comes at once finds what was not missed yet, so more are written until one was.
    let written = 2;
    await expect
      .poll(async () => {
        await batch(runId);
        written += 1;
        await sender.send(channels.runEvents, runId);
        return hints.stats().backstopFinds;
      }, patiently)
      .toBeGreaterThan(0);
    await expect.poll(() => items.length, patiently).toBe(written);
    expect(await valueOf(metrics.hintsUnsent)).toBe(unsent + written - 2);

    await redis.start();
    await hints.listening();
    await expect
      .poll(
        () =>
          sender.check().then(
            () => true,
            () => false,
          ),
        patiently,
      )
      .toBe(true);
    const before = hints.stats().hints;
    await finish(runId);
    await sender.send(channels.runEvents, runId);
    await ended;
    expect(seqs(items)).toEqual(upTo(written + 1));
    await expect.poll(() => hints.stats().hints, patiently).toBeGreaterThan(before);
  });

  it('are waited for when Redis is not there at the start', async () => {
    await redis.kill();
    const over = way();
    const hints = listen(over);
    const runId = await startedRun();
    const { items, ended } = reader(runId, hints, 50);
    await batch(runId);
    await over.send(channels.runEvents, runId); // resolves, and is counted
    await expect.poll(() => items.length, patiently).toBe(2);
    expect(hints.stats().listening).toBe(false);
    await redis.start();
    await hints.listening();
    await finish(runId);
    await ended;
    expect(seqs(items)).toEqual(upTo(3));
  });

  it('do not travel over the database then, nor the other way round', async () => {
    const hints = listen();
    await hints.listening();
    const runId = await startedRun();
    const overDatabase = startHints({ url: database.apiUrl, logger: quiet });
    cleanups.push(() => overDatabase.stop());
    await overDatabase.listening();
    const [before, beforeDatabase] = [hints.stats().hints, overDatabase.stats().hints];
    await notifyThrough(database.admin())(channels.runEvents, runId);
    await expect.poll(() => overDatabase.stats().hints, patiently).toBe(beforeDatabase + 1);
    expect(hints.stats().hints).toBe(before);
  });
});

async function valueOf(counter: { get(): Promise<{ values: { value: number }[] }> }): Promise<number> {
  return (await counter.get()).values[0]?.value ?? 0;
}
