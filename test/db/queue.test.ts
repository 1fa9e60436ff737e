import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

import { channels, listenThrough, notify, notifyAllThrough } from '../../src/db/notify.ts';
import { type Queryable } from '../../src/db/pool.ts';
import { claimPartition, heartbeat, queueDepth } from '../../src/db/queue.ts';
import { sql } from '../../src/db/sql.ts';
import { createAnnouncer } from '../../src/events/announce.ts';
import { startBell } from '../../src/queue/bell.ts';
import { keepLease } from '../../src/queue/lease.ts';
import { useDatabase } from '../support/database.ts';
import { until } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);

beforeAll(async () => {
  for (const agency of ['nasa', 'noaa']) {
    await database.addAgency(agency);
    await bench.addPipeline({ agency });
  }
});
afterEach(async () => {
  await database.admin().query(sql`
    update flux.run_partitions set status = 'CANCELLED', leased_by = null, lease_expires_at = null
    where status in ('AVAILABLE', 'EXECUTING')
  `);
});

const worker = { id: 'w', leaseMs: 3_000 };
const expire = () =>
  database
    .admin()
    .query(sql`update flux.run_partitions set lease_expires_at = clock_timestamp() where status = 'EXECUTING'`);

describe('claims', () => {
  it('give each partition to one worker only, whoever asks at the same time', async () => {
    for (let i = 0; i < 6; i += 1) await bench.queueRun('nasa', 'numbers');
    expect(await queueDepth(database.workerPool())).toBe(6n);
    const claims = await Promise.all(Array.from({ length: 8 }, () => claimPartition(database.workerPool(), worker)));
    const taken = claims.filter((claim) => claim !== null);
    expect(taken).toHaveLength(6);
    expect(new Set(taken.map(({ runId }) => runId)).size).toBe(6);
    expect(taken.every(({ epoch, takings, takenOver }) => epoch === 1 && takings === 1 && !takenOver)).toBe(true);
    expect(await queueDepth(database.workerPool())).toBe(0n);
  });

  it('take turns between agencies, whoever queued more', async () => {
    for (let i = 0; i < 3; i += 1) await bench.queueRun('nasa', 'numbers');
    await bench.queueRun('noaa', 'numbers');
    const first = await bench.claim();
    const second = await bench.claim();
    expect([first.agencyId, second.agencyId].sort()).toEqual(['nasa', 'noaa']);
  });

  it('wait for the time at which a partition is free', async () => {
    await bench.queueRun('nasa', 'numbers');
    await database
      .admin()
      .query(
        sql`update flux.run_partitions set available_at = clock_timestamp() + interval '1 hour' where status = 'AVAILABLE'`,
      );
    expect(await claimPartition(database.workerPool(), worker)).toBeNull();
  });

  it('extend while they are held, and not one moment later', async () => {
    await bench.queueRun('nasa', 'numbers');
    const claim = await bench.claim();
    expect((await heartbeat(database.workerPool(), claim, 3_000)).held).toBe(true);
    expect((await heartbeat(database.workerPool(), { ...claim, epoch: 2 }, 3_000)).held).toBe(false);
    await expire();
    expect((await heartbeat(database.workerPool(), claim, 3_000)).held).toBe(false);
  });
});

describe('a lease', () => {
  const times = { leaseMs: 3_000, heartbeatMs: 20 };
  const lost = (signal: AbortSignal) =>
    new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

  it('outlives its own length while beats get through', async () => {
    await bench.queueRun('nasa', 'numbers');
    const claim = await bench.claim('w', times.leaseMs);
    const lease = keepLease(database.workerPool(), claim, times);
    const { rows: first } = await database.admin().query<{ ends: Date }>(sql`
      select clock_timestamp() + ${times.leaseMs} * interval '1 ms' as ends
    `);
    await until(async () => {
      const { rows } = await database.admin().query<{ outlived: boolean; held: boolean }>(sql`
        select clock_timestamp() > ${first[0]?.ends} as outlived, lease_expires_at > clock_timestamp() as held
        from flux.run_partitions where run_id = ${claim.runId}
      `);
      expect([rows[0]?.held, lease.lost.aborted]).toEqual([true, false]);
      return rows[0]?.outlived === true;
    });
    lease.stop();
  });

  it('is lost when the database says so', async () => {
    await bench.queueRun('nasa', 'numbers');
    const claim = await bench.claim();
    const lease = keepLease(database.workerPool(), { ...claim, epoch: 9 }, times);
    await lost(lease.lost);
    expect(lease.lost.reason).toMatchObject({ code: 'LEASE_LOST' });
    lease.stop();
  });

  it('is lost by our own clock when no beat gets through, failing or silent', async () => {
    await bench.queueRun('nasa', 'numbers');
    const claim = await bench.claim();
    const silent: Queryable = { query: () => new Promise(() => undefined) };
    const failing: Queryable = { query: () => Promise.reject(new Error('no connection')) };
    const leases = [silent, failing].map((db) => keepLease(db, claim, { leaseMs: 200, heartbeatMs: 20 }));
    await Promise.all(leases.map((lease) => lost(lease.lost)));
    for (const lease of leases) expect((lease.lost.reason as Error).message).toMatch(/no heartbeat got through/);
  });
});

describe('hints', () => {
  const never = new AbortController().signal;
  const broken = vi.fn();
  afterEach(() => broken.mockReset());

  it('ring the bell of a waiting worker, and one that came before the wait counts', async () => {
    const bell = startBell({ url: database.workerUrl, onError: broken });
    try {
      // LISTEN may not stand yet, so the hint is repeated until it is heard.
      const heard = bell.wait(20_000, never);
      const again = setInterval(() => void notify(database.workerPool(), channels.work), 20);
      const startedAt = performance.now();
      await heard;
      clearInterval(again);
      expect(performance.now() - startedAt).toBeLessThan(15_000);
    } finally {
      await bell.stop();
    }
  });

  it('are not needed: a wait ends by itself, and at the abort, also while the server is away', async () => {
    const bell = startBell({ url: 'postgres://nobody@127.0.0.1:1/none', onError: broken });
    await bell.wait(10, never);
    await bell.wait(60_000, AbortSignal.abort());
    await bell.stop();
    expect(broken).toHaveBeenCalled();
  });

  it('come back after the connection is lost', async () => {
    const bell = startBell({ url: database.workerUrl, onError: broken });
    try {
      const listening = async (): Promise<number[]> => {
        const { rows } = await database.admin().query<{ pid: number }>(sql`
          select pid from pg_stat_activity where application_name = 'flux worker bell' and datname = current_database() and query like 'listen%'
        `);
        return rows.map(({ pid }) => pid);
      };
      const stands = async (not: number[]): Promise<number[]> => {
        for (;;) {
          const pids = (await listening()).filter((pid) => !not.includes(pid));
          if (pids.length > 0) return pids;
        }
      };
      const before = await stands([]);
      await database.admin().query(sql`select pg_terminate_backend(${before[0]})`);
      expect(await stands(before)).toHaveLength(1);
    } finally {
      await bell.stop();
    }
  });

  it('go out once per flush, name no tenant, and are only warned about when they fail', async () => {
    const ear = await listenThrough({ url: database.workerUrl, applicationName: 'ear' });
    try {
      const heard: string[] = [];
      await ear.hear(channels.runEvents, (payload) => heard.push(`run ${payload}`));
      await ear.hear(channels.work, (payload) => heard.push(`work ${payload}`));
      const announcer = createAnnouncer(notifyAllThrough(database.workerPool()), broken);
      for (let i = 0; i < 5; i += 1) {
        announcer.run('r-1');
        announcer.work();
      }
      await announcer.stop();
      announcer.run('r-2'); // after the end: nothing
      await notify(database.workerPool(), channels.work, 'last');
      await until(() => Promise.resolve(heard.includes('work last')));
      expect(heard.sort()).toEqual(['run r-1', 'work ', 'work last']);

      const failing = createAnnouncer(() => Promise.reject(new Error('away')), broken);
      failing.run('r-3');
      await failing.stop();
      expect(broken).toHaveBeenCalledWith(expect.objectContaining({ message: 'away' }));
    } finally {
      await ear.end();
    }
  });
});
