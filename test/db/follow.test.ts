import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { channels, notify } from '../../src/db/notify.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { followProgress } from '../../src/domain/follow-progress.ts';
import type { RunProgress } from '../../src/domain/progress.ts';
import { appendEvents } from '../../src/events/append.ts';
import { checkFollow, follow, type FollowDeps, type RunEventItem } from '../../src/events/follow.ts';
import { startHints } from '../../src/events/listen.ts';
import { append, completes, quiet, silentHints, starts } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});
beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  await database.admin().query(sql`
    insert into flux.connections (agency_id, name, kind, config, created_by) values ('nasa', 'files', 'file', '{}', 'test')
  `);
  await database.admin().query(sql`
    insert into flux.pipelines (agency_id, name, version, title, content_type, use_case, classification, connection_name,
      definition, sha256, created_by)
    select 'nasa', 'p' || level, 1, 'P', 'text', 'research', level, 'files', '{}', ${Buffer.alloc(32)}::bytea, 'test'
    from generate_series(0, 3) as level
  `);
});

const sealed =
  (agency = 'nasa', clearance = 0) =>
  (): string =>
    database.tenant(agency, { clearance });

async function newRun(classification = 0): Promise<string> {
  return inTenant(database.apiPool(), sealed('nasa', 5)(), async (tx) => {
    const { rows } = await tx.query<{ id: string }>(sql`
      insert into flux.runs (agency_id, pipeline_name, pipeline_version, stage, content_type, use_case, classification,
        requested_by, payload)
      values ('nasa', ${`p${String(classification)}`}, 1, 'FULL', 'text', 'research', ${classification}, 'test', '{}')
      returning run_id as id
    `);
    const { id } = rows[0] as { id: string };
    await appendEvents(tx, { agencyId: 'nasa', runId: id }, [{ name: 'RunQueued', message: 'queued' }]);
    return id;
  });
}

const begin = (runId: string): Promise<void> =>
  append(database, 'nasa', runId, [{ name: 'RunStarted', message: 'started' }], starts);
const batch = (runId: string, n = 1): Promise<void> =>
  append(
    database,
    'nasa',
    runId,
    Array.from({ length: n }, (_, i) => ({ name: 'BatchCommitted' as const, message: `batch ${String(i)}` })),
  );
const end = (runId: string): Promise<void> =>
  append(database, 'nasa', runId, [{ name: 'RunCompleted', message: 'done' }], completes);

function deps(more: Partial<FollowDeps> = {}): FollowDeps {
  return { pool: database.apiPool(), hints: silentHints(), logger: quiet, pollMs: 20, ...more };
}

function open(runId: string, afterSeq = 0n, using = deps(), signal = new AbortController().signal) {
  return follow(using, { sealed: sealed(), runId, afterSeq, signal });
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const seqOf = (item: RunEventItem): bigint | string => ('kind' in item ? item.kind : item.seq);
const upTo = (n: number): bigint[] => Array.from({ length: n }, (_, i) => BigInt(i + 1));

describe('following a run', () => {
  it('replays what is there, goes on live, and completes after the last event', async () => {
    const runId = await newRun();
    await begin(runId);
    const stream = open(runId);
    expect([(await stream.next()).value, (await stream.next()).value]).toMatchObject([
      { name: 'RunQueued', seq: 1n },
      { name: 'RunStarted', seq: 2n },
    ]);
    const third = stream.next();
    await batch(runId);
    expect((await third).value).toMatchObject({ name: 'BatchCommitted', seq: 3n });
    await end(runId);
    expect(await collect(stream)).toMatchObject([
      { name: 'RunCompleted', seq: 4n },
      { kind: 'end', status: 'COMPLETED', attempt: 1, lastSeq: 4n },
    ]);
  });

  it('delivers every event exactly once, in order, to a subscriber that keeps losing its connection', async () => {
    const listening = realHints();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 8 }), // events per transaction
        fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 12 }), // items taken per connection
        fc.boolean(), // whether hints come
        async (batches, takes, hinted) => {
          const runId = await newRun();
          const hints = hinted ? listening : silentHints();
          const writing = (async () => {
            await begin(runId);
            for (const size of batches) {
              await batch(runId, size);
              if (hinted) await notify(database.admin(), channels.runEvents, runId);
            }
            await end(runId);
            if (hinted) await notify(database.admin(), channels.runEvents, runId);
          })();
          const seen: RunEventItem[] = [];
          let after = 0n;
          for (
            let connection = 0;
            seen.at(-1) === undefined || seqOf(seen.at(-1) as RunEventItem) !== 'end';
            connection += 1
          ) {
            const stream = open(runId, after, deps({ hints, pollMs: hinted ? 60_000 : 10 }));
            // After a while the connection holds, so that the property ends.
            const most = connection < takes.length ? (takes[connection] as number) : Infinity;
            for (let taken = 0; taken < most; taken += 1) {
              const { done, value } = await stream.next();
              if (done) break;
              seen.push(value);
              if (!('kind' in value)) after = value.seq;
            }
            await stream.return?.();
          }
          await writing;
          const total = batches.reduce((sum, size) => sum + size, 0) + 3;
          expect(seen.map(seqOf)).toEqual([...upTo(total), 'end']);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('gives a subscriber who comes after the end all of it, and one with the last cursor only the end', async () => {
    const runId = await newRun();
    await begin(runId);
    await batch(runId, 600);
    await end(runId);
    expect((await collect(open(runId))).map(seqOf)).toEqual([...upTo(603), 'end']);
    expect((await collect(open(runId, 603n))).map(seqOf)).toEqual(['end']);
  });

  it('frees its registration at once when the client completes while nothing happens', async () => {
    const runId = await newRun();
    const hints = silentHints();
    const stream = open(runId, 0n, deps({ hints, pollMs: 60_000 }));
    expect(hints.waiters).toBe(0);
    await stream.next();
    const idle = stream.next();
    expect(hints.waiters).toBe(1);
    await expect(stream.return?.()).resolves.toMatchObject({ done: true });
    await expect(idle).resolves.toMatchObject({ done: true });
    expect(hints.waiters).toBe(0);
  });

  it('holds nothing when it is completed before it was read, and ends with its caller’s signal', async () => {
    const runId = await newRun();
    const hints = silentHints();
    await open(runId, 0n, deps({ hints })).return?.();
    expect(hints.waiters).toBe(0);
    const caller = new AbortController();
    const stream = open(runId, 0n, deps({ hints, pollMs: 60_000 }), caller.signal);
    expect((await stream.next()).value).toMatchObject({ seq: 1n });
    const idle = stream.next();
    expect(hints.waiters).toBe(1);
    caller.abort();
    await expect(idle).resolves.toMatchObject({ done: true });
    expect(hints.waiters).toBe(0);
  });

  it('finds by its poll what no notification told, and counts it', async () => {
    const runId = await newRun();
    const hints = silentHints();
    const stream = open(runId, 0n, deps({ hints, pollMs: 900 }));
    await stream.next();
    const next = stream.next();
    await begin(runId);
    expect((await next).value).toMatchObject({ name: 'RunStarted' });
    expect(hints.finds).toBe(1);
    await stream.return?.();
  });

  it('says which events retention has removed, and refuses a cursor before them', async () => {
    const runId = await newRun();
    await begin(runId);
    await batch(runId, 4);
    await end(runId);
    await database.admin().query(sql`delete from flux.run_events where run_id = ${runId} and seq in (1, 2, 3, 5)`);
    expect(await collect(open(runId))).toMatchObject([
      { kind: 'gap', fromSeq: 1n, toSeq: 3n, reason: 'RETENTION' },
      { seq: 4n },
      { kind: 'gap', fromSeq: 5n, toSeq: 5n },
      { seq: 6n },
      { seq: 7n },
      { kind: 'end' },
    ]);
    const check = (afterSeq: bigint): Promise<void> => checkFollow(deps(), { sealed: sealed(), runId, afterSeq });
    await expect(check(2n)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED', details: { floor: '4' } });
    await expect(check(0n)).resolves.toBeUndefined();
    await expect(check(3n)).resolves.toBeUndefined();
    await database.admin().query(sql`delete from flux.run_events where run_id = ${runId}`);
    await expect(check(2n)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED', details: { floor: null } });
    expect((await collect(open(runId))).map(seqOf)).toEqual(['gap', 'end']);
  });

  it('knows no run of another agency, above the clearance, or at all', async () => {
    const secret = await newRun(3);
    const unknown = '01890000-0000-7000-8000-000000000000';
    const check = (agency: string, runId: string, clearance = 0): Promise<void> =>
      checkFollow(deps(), { sealed: sealed(agency, clearance), runId, afterSeq: 0n });
    await expect(check('nasa', secret, 3)).resolves.toBeUndefined();
    const refused = await Promise.allSettled([
      check('nasa', secret, 2),
      check('noaa', secret, 5),
      check('nasa', unknown),
    ]);
    expect(refused).toMatchObject([1, 2, 3].map(() => ({ status: 'rejected', reason: { code: 'NOT_FOUND' } })));
    await expect(collect(open(secret))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('outlives a database that is away for a while', async () => {
    const runId = await newRun();
    let failures = 3;
    const pool = database.apiPool();
    const flaky: typeof pool = {
      ...pool,
      withConnection: (use) => {
        failures -= 1;
        return failures >= 0
          ? Promise.reject(new Error('Connection terminated unexpectedly'))
          : pool.withConnection(use);
      },
    };
    const stream = open(runId, 0n, deps({ pool: flaky }));
    expect((await stream.next()).value).toMatchObject({ seq: 1n });
    await stream.return?.();
  });
});

describe('hints', () => {
  it('wake a stream long before its poll', async () => {
    const runId = await newRun();
    const hints = realHints();
    await hints.listening();
    const stream = open(runId, 0n, deps({ hints, pollMs: 60_000 }));
    await stream.next();
    const next = stream.next();
    await begin(runId);
    await notify(database.admin(), channels.runEvents, runId);
    expect((await next).value).toMatchObject({ seq: 2n });
    await stream.return?.();
    expect(hints.stats()).toMatchObject({ listening: true, waiters: 0, backstopFinds: 0 });
  });

  it('come back after their connection is lost, and wake everybody because some may have been missed', async () => {
    const runId = await newRun();
    const hints = realHints();
    await hints.listening();
    const stream = open(runId, 0n, deps({ hints, pollMs: 60_000 }));
    await stream.next();
    const next = stream.next();
    await begin(runId); // and nobody is told
    await database.admin().query(sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where application_name = 'flux hints' and datname = current_database()
    `);
    expect((await next).value).toMatchObject({ seq: 2n });
    await hints.listening();
    expect(hints.stats().reconnects).toBe(1);
    await stream.return?.();
  });

  it('keep trying when there is no server, and stop when told', async () => {
    const warnings: object[] = [];
    const hints = startHints({
      url: 'postgres://nobody:x@127.0.0.1:1/none',
      logger: { info: () => undefined, warn: (fields) => warnings.push(fields) },
    });
    await until(() => warnings.length > 1);
    await hints.stop();
    expect(hints.stats().listening).toBe(false);
  });
});

describe('a run’s progress', () => {
  it('comes as snapshots that change, the last one that of the finished run', async () => {
    const runId = await newRun();
    await database.admin().query(sql`
      insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage) values ('nasa', ${runId}, 1, 'BATCHES', 'FULL')
    `);
    const hints = silentHints();
    const stream = followProgress(deps({ hints }), {
      sealed: sealed(),
      runId,
      maxPerSecond: 20,
      signal: new AbortController().signal,
    });
    const snapshots: RunProgress[] = [];
    const first = await stream.next();
    expect(first.value).toMatchObject({
      status: 'PENDING',
      recordsRead: 0n,
      fraction: null,
      estimateSource: 'NONE',
      step: 'batches',
    });
    await begin(runId);
    await database.admin().query(sql`update flux.runs set records_total = 200 where run_id = ${runId}`);
    await database.admin().query(sql`
      update flux.run_partitions set records_read = 50, records_written = 45, records_rejected = 5 where run_id = ${runId}
    `);
    for (let item = await stream.next(); !item.done; item = await stream.next()) {
      snapshots.push(item.value);
      if (item.value.recordsRead === 50n) break;
    }
    expect(snapshots.at(-1)).toMatchObject({
      status: 'IN_PROGRESS',
      fraction: 0.25,
      estimateSource: 'EXACT',
      recordsRejected: 5n,
    });
    await end(runId);
    const rest = await collect(stream);
    expect(rest.at(-1)).toMatchObject({ status: 'COMPLETED', step: null, etaAt: null });
    expect(hints.waiters).toBe(0);
  });
});

function realHints(): ReturnType<typeof startHints> {
  const hints = startHints({ url: database.apiUrl, logger: quiet });
  cleanups.push(() => hints.stop());
  return hints;
}

/** Waits for a condition of this process. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
