import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Connection, Pool } from '../../src/db/pool.ts';
import { type Sql, sql } from '../../src/db/sql.ts';
import { inTenant, inTransaction } from '../../src/db/transaction.ts';
import { followRunChanges, readRunChanges, type RunChange } from '../../src/domain/follow-run-changes.ts';
import { appendEvents } from '../../src/events/append.ts';
import type { FollowDeps } from '../../src/events/follow.ts';
import { append, completes, quiet, silentHints, starts } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';
import { gate } from '../support/runs.ts';

const database = useDatabase();
const streams: AsyncIterableIterator<RunChange>[] = [];
afterEach(async () => {
  for (const stream of streams.splice(0)) await stream.return?.();
});
beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
});

const newRun = async (agency = 'nasa', classification = 0): Promise<string> =>
  (await insertRun(database, agency, { pipeline: `p${String(classification)}`, classification })).runId;
const begin = (runId: string, agency = 'nasa'): Promise<void> =>
  append(database, agency, runId, [{ name: 'RunStarted', message: 'started' }], starts);
const end = (runId: string): Promise<void> =>
  append(database, 'nasa', runId, [{ name: 'RunCompleted', message: 'done' }], completes);

function deps(): FollowDeps {
  return { pool: database.apiPool(), hints: silentHints(), logger: quiet, pollMs: 10 };
}

function open(
  options: { afterSeq?: bigint | null; clearance?: number; filter?: object; agency?: string; using?: FollowDeps } = {},
): AsyncIterableIterator<RunChange> {
  const { afterSeq = null, clearance = 0, filter = {}, agency = 'nasa', using = deps() } = options;
  const stream = followRunChanges(using, {
    sealed: () => database.tenant(agency, { clearance }),
    filter,
    afterSeq,
    signal: new AbortController().signal,
    viewer: `${agency} ${String(clearance)}`,
  });
  streams.push(stream);
  return stream;
}

const page = (
  afterSeq: bigint | null,
  limit: number,
  { pool = database.apiPool(), agency = 'nasa', ...more }: { pool?: Pool; agency?: string; patienceMs?: number } = {},
) =>
  readRunChanges(
    { pool },
    {
      ...more,
      sealed: () => database.tenant(agency),
      filter: {},
      afterSeq,
      limit,
      signal: new AbortController().signal,
    },
  );

/** The feed's end now: a cursor from which everything that follows is seen. */
async function endOfFeed(agency = 'nasa'): Promise<bigint> {
  const runId = await newRun(agency);
  const stream = open({ agency, afterSeq: 0n, clearance: 5 });
  for await (const { run, seq } of stream) if (run.id === runId) return seq;
  throw new Error('the feed ended');
}

const next = async (stream: AsyncIterableIterator<RunChange>): Promise<RunChange> => {
  const step = await stream.next();
  if (step.done === true) throw new Error('the feed ended');
  return step.value;
};

describe('the feed of changed runs', () => {
  it('tells of new runs and of each change of state, newest state first, and replays from a cursor', async () => {
    const from = await endOfFeed();
    const stream = open({ afterSeq: from });
    const runId = await newRun();
    const created = await next(stream);
    expect(created).toMatchObject({ run: { id: runId, status: 'PENDING' }, matches: true });
    await begin(runId);
    expect(await next(stream)).toMatchObject({ run: { id: runId, status: 'IN_PROGRESS' } });
    await end(runId);
    expect(await next(stream)).toMatchObject({ run: { id: runId, status: 'COMPLETED' } });
    // Whoever was away hears of the newest state, once.
    expect(await next(open({ afterSeq: created.seq }))).toMatchObject({ run: { id: runId, status: 'COMPLETED' } });
  });

  it('misses nothing of a transaction that commits after a later one', async () => {
    const [early, late] = [await newRun(), await newRun()];
    const stream = open({ afterSeq: await endOfFeed() });
    const [holding, release] = [gate(), gate()];
    const slow = database.agencyPool('nasa').withConnection((connection) =>
      inTransaction(connection, async (tx) => {
        await appendEvents(tx, { agencyId: 'nasa', runId: early }, [{ name: 'RunStarted', message: 'x' }], starts);
        holding.open();
        await release.passed;
      }),
    );
    await holding.passed;
    await begin(late);
    expect((await next(stream)).run.id).toBe(late);
    release.open();
    await slow;
    expect((await next(stream)).run).toMatchObject({ id: early, status: 'IN_PROGRESS' });
  });

  it('tells of a run that leaves the states asked for, and nothing of runs that other conditions exclude', async () => {
    const stream = open({ afterSeq: await endOfFeed(), filter: { statuses: ['PENDING'], pipeline: 'p0' } });
    const other = await insertRun(database, 'nasa', { pipeline: 'other' });
    await begin(other.runId);
    const runId = await newRun();
    expect(await next(stream)).toMatchObject({ run: { id: runId }, matches: true });
    await begin(runId);
    expect(await next(stream)).toMatchObject({ run: { id: runId }, matches: false });
  });

  it('shows nobody a run of another agency or above the clearance', async () => {
    const from = await endOfFeed();
    const [low, high, foreign] = [
      open({ afterSeq: from }),
      open({ afterSeq: from, clearance: 3 }),
      open({ afterSeq: await endOfFeed('noaa'), agency: 'noaa', clearance: 5 }),
    ];
    const secret = await newRun('nasa', 3);
    const plain = await newRun();
    expect([(await next(high)).run.id, (await next(high)).run.id].sort()).toEqual([secret, plain].sort());
    expect((await next(low)).run.id).toBe(plain);
    const theirs = await newRun('noaa');
    expect((await next(foreign)).run.id).toBe(theirs);
  });

  /** Runs that are being written. @param fates how far each gets */
  async function write(
    fates: readonly number[],
  ): Promise<{ wanted: Map<string, string | undefined>; writing: Promise<unknown> }> {
    const ids = await Promise.all(fates.map(() => newRun()));
    const writing = Promise.all(
      ids.map(async (id, i) => {
        if ((fates[i] as number) > 0) await begin(id);
        if ((fates[i] as number) > 1) await end(id);
      }),
    );
    const wanted = new Map(ids.map((id, i) => [id, ['PENDING', 'IN_PROGRESS', 'COMPLETED'][fates[i] as number]]));
    return { wanted, writing };
  }

  it('gives the last state of every run to readers who come and go while many write, and never an older one later', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 10 }), // how far each run gets
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 6 }), // changes taken per connection
        async (fates, takes) => {
          const from = await endOfFeed();
          const { wanted, writing } = await write(fates);
          const known = new Map<string, RunChange['run']>();
          const isComplete = (): boolean => [...wanted].every(([id, status]) => known.get(id)?.status === status);
          let place = from;
          for (let connection = 0; !isComplete(); connection += 1) {
            const stream = open({ afterSeq: place });
            const most = takes[connection] ?? Infinity;
            for (let taken = 0; taken < most && !isComplete(); taken += 1) {
              const { run, seq } = await next(stream);
              expect(seq).toBeGreaterThan(place);
              place = seq;
              expect(run.version).toBeGreaterThan(known.get(run.id)?.version ?? 0n);
              known.set(run.id, run);
            }
            await stream.return?.();
          }
          await writing;
        },
      ),
      { numRuns: 15 },
    );
  });

  it('gives the same to whoever reads it page by page while many write', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 10 }), // how far each run gets
        fc.integer({ min: 1, max: 4 }), // runs of a page
        async (fates, limit) => {
          let { end: place } = await page(null, limit);
          const { wanted, writing } = await write(fates);
          const known = new Map<string, RunChange['run']>();
          while (![...wanted].every(([id, status]) => known.get(id)?.status === status)) {
            const { items, end: to, more } = await page(place, limit);
            expect(items.length).toBeLessThanOrEqual(limit);
            if (more) expect(to).toBe(items.at(-1)?.seq);
            for (const { run, seq } of items) {
              expect(seq).toBeGreaterThan(place);
              expect(run.version).toBeGreaterThan(known.get(run.id)?.version ?? 0n);
              known.set(run.id, run);
            }
            expect(to).toBeGreaterThanOrEqual(items.at(-1)?.seq ?? place);
            place = to;
          }
          await writing;
          expect([...known.keys()].sort()).toEqual([...wanted.keys()].toSorted());
        },
      ),
      { numRuns: 15 },
    );
  });

  it('tells no place whose numbering is not committed', async () => {
    const real = database.apiPool();
    const lost = new Error('Connection terminated unexpectedly');
    const losing: Pool = Object.assign(Object.create(real) as Pool, {
      withConnection: <T>(work: (connection: Connection) => Promise<T>) =>
        real.withConnection((connection) =>
          work(
            new Proxy(connection, {
              get: (target, name) =>
                name === 'query'
                  ? (query: Sql) => (query.strings[0] === 'commit' ? Promise.reject(lost) : target.query(query))
                  : (Reflect.get(target, name, target) as unknown),
            }),
          ).finally(() => connection.query(sql`rollback`)),
        ),
    });
    await newRun();
    await expect(page(null, 1, { pool: losing })).rejects.toThrow('terminated');
  });

  it('says where it stands, however many runs changed while nobody read', async () => {
    await database.addAgency('fema');
    const model = await newRun('fema');
    await database.admin().query(sql`
      insert into flux.runs
      select (jsonb_populate_record(r, jsonb_build_object('run_id', gen_random_uuid(), 'feed_seq', null))).*
      from flux.runs r, generate_series(1, 2500)
      where r.run_id = ${model}
    `);
    const pageOf = (afterSeq: bigint | null) => page(afterSeq, 200, { agency: 'fema' });
    expect(await pageOf(2_000n)).toEqual({ items: [], end: 1_000n, more: true });
    // It takes no longer than it may, and whoever asks again comes nearer.
    await expect(page(null, 1, { agency: 'fema', patienceMs: 0 })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    const place = await page(null, 1, { agency: 'fema', patienceMs: 0 });
    expect(place).toEqual({ items: [], end: 2_501n, more: false });
    expect(await pageOf(place.end)).toEqual(place);
    await begin(model, 'fema');
    expect((await pageOf(place.end)).items).toMatchObject([{ run: { id: model, status: 'IN_PROGRESS' } }]);
  });

  it('begins with what changes from now on, however many runs changed while nobody read', async () => {
    await database.addAgency('usgs');
    const model = await newRun('usgs');
    await database.admin().query(sql`
      insert into flux.runs
      select (jsonb_populate_record(r, jsonb_build_object('run_id', gen_random_uuid(), 'feed_seq', null))).*
      from flux.runs r, generate_series(1, 2500)
      where r.run_id = ${model}
    `);
    const first = next(open({ agency: 'usgs' }));
    const unnumbered = async (): Promise<unknown> =>
      (
        await database
          .admin()
          .query(sql`select count(*)::int as n from flux.runs where agency_id = 'usgs' and feed_seq is null`)
      ).rows[0];
    await expect.poll(unnumbered).toEqual({ n: 0 });
    await begin(model, 'usgs');
    expect((await first).run).toMatchObject({ id: model, status: 'IN_PROGRESS' });
  });

  it('frees its place at once when the reader leaves while nothing changes', async () => {
    const using = deps();
    const stream = open({ using });
    const idle = stream.next();
    await expect.poll(() => (using.hints as ReturnType<typeof silentHints>).waiters).toBe(1);
    await stream.return?.();
    await expect(idle).resolves.toMatchObject({ done: true });
    expect((using.hints as ReturnType<typeof silentHints>).waiters).toBe(0);
  });

  it('counts a change that its poll finds and no hint tells', async () => {
    const hints = silentHints();
    const from = await endOfFeed();
    const runId = await newRun();
    const stream = open({ afterSeq: from, using: { ...deps(), hints } });
    await next(stream);
    await begin(runId);
    expect(await next(stream)).toMatchObject({ run: { id: runId, status: 'IN_PROGRESS' } });
    await expect.poll(() => hints.finds).toBe(1);
  });

  it('counts no change that a hint has told', async () => {
    let tell = (): void => undefined;
    const hints = Object.assign(silentHints(), {
      on(_runId: string, wake: () => void) {
        tell = wake;
        return () => undefined;
      },
    });
    const from = await endOfFeed();
    const runId = await newRun();
    const stream = open({ afterSeq: from, using: { ...deps(), hints, pollMs: 60_000 } });
    await next(stream);
    await begin(runId);
    tell();
    expect(await next(stream)).toMatchObject({ run: { id: runId, status: 'IN_PROGRESS' } });
    await end(runId);
    tell();
    expect(await next(stream)).toMatchObject({ run: { id: runId, status: 'COMPLETED' } });
    expect(hints.finds).toBe(0);
  });

  it('does not count what was there before it as changed', async () => {
    const runId = await newRun();
    await database.admin().query(sql`update flux.runs set feed_seq = 0 where run_id = ${runId}`);
    const from = await endOfFeed();
    const after = await newRun();
    expect((await next(open({ afterSeq: from }))).run.id).toBe(after);
    const { rows } = await inTenant(database.apiPool(), database.tenant('nasa'), (tx) =>
      tx.query<{ seq: bigint }>(sql`select feed_seq as seq from flux.runs where run_id = ${runId}`),
    );
    expect(rows[0]?.seq).toBe(0n);
  });
});
