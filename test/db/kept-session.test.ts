import { beforeAll, describe, expect, it } from 'vitest';

import type { Connection } from '../../src/db/pool.ts';
import { type Sql, sql } from '../../src/db/sql.ts';
import { executePartition } from '../../src/worker/execute-partition.ts';
import { type AgencySession, keepSession, openSession } from '../../src/worker/sessions.ts';
import type { WorkerDeps } from '../../src/worker/work.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine } from '../support/fake-engine.ts';
import { readRun, until } from '../support/runs.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const alive = new AbortController().signal;

beforeAll(async () => {
  for (const agency of ['nasa', 'noaa']) {
    await database.addAgency(agency);
    await bench.addPipeline({ agency });
  }
  // Which backend each partition was worked by, in the order of their takings.
  const admin = database.admin();
  await admin.query(sql`create table public.holders (n serial, agency text, pid int, login text)`);
  await admin.query(sql`
    create function public.note_holder() returns trigger language plpgsql security definer as $$
    begin
      insert into public.holders (agency, pid, login) values (new.agency_id, new.holder_pid, session_user);
      return null;
    end $$
  `);
  await admin.query(sql`
    create trigger note_holder after update of holder_pid on flux.run_partitions
    for each row when (new.holder_pid is not null) execute function public.note_holder()
  `);
});

const one = async <T extends object>(db: Pick<Connection, 'query'>, query: Sql): Promise<T> =>
  (await db.query<T>(query)).rows[0] as T;
const pidOf = async (session: AgencySession): Promise<number> =>
  (await one<{ pid: number }>(session, sql`select pg_backend_pid() as pid`)).pid;
const isGone = async (pid: number): Promise<boolean> =>
  (await database.admin().query(sql`select from pg_stat_activity where pid = ${pid}`)).rowCount === 0;
const holders = async (): Promise<{ agency: string; pid: number; login: string }[]> =>
  (
    await database
      .admin()
      .query<{ agency: string; pid: number; login: string }>(
        sql`select agency, pid, login from public.holders order by n`,
      )
  ).rows;
const list = (count: number): Parameters<typeof fakeEngine>[0] => ({
  values: Array.from({ length: count }, (_, at) => at),
  partitions: 2,
  batchRecords: 5,
});

async function opened(agency: string): Promise<{ deps: WorkerDeps; session: AgencySession; role: string }> {
  const deps = await bench.deps(fakeEngine(list(1)));
  const role = database.agencyRole(agency, 'rw');
  return { deps, role, session: await openSession(deps, role) };
}

describe('a worker’s session', () => {
  it('serves the partitions of one agency that follow each other, and no other agency', async () => {
    // A beat that finds a partition completed, before its worker is told, ends the session like one that is lost.
    const deps = await bench.deps(fakeEngine(list(20)), { times: { heartbeatMs: 20_000 } });
    for (const agency of ['nasa', 'noaa', 'nasa']) {
      const runId = await bench.queueRun(agency, 'numbers');
      expect(new Set(await bench.drain(deps))).toEqual(new Set(['completed']));
      expect((await readRun(database, runId)).status).toBe('COMPLETED');
    }
    const found = await holders();
    expect(found).toHaveLength(3 * 4);
    const [first, second, third] = [found.slice(0, 4), found.slice(4, 8), found.slice(8)];
    for (const [taken, agency] of [
      [first, 'nasa'],
      [second, 'noaa'],
      [third, 'nasa'],
    ] as const) {
      expect(new Set(taken.map(({ pid }) => pid)).size).toBe(1);
      expect(new Set(taken.map((one) => one.agency))).toEqual(new Set([agency]));
      expect(new Set(taken.map(({ login }) => login))).toEqual(new Set([database.agencyRole(agency, 'rw')]));
    }
    expect(new Set(found.map(({ pid }) => pid)).size).toBe(3);
  });

  it('ends with a lease that was lost, whose partition still names it', async () => {
    await bench.queueRun('nasa', 'numbers');
    const engine = fakeEngine({
      ...list(20),
      beforeBatch: async () => {
        await database.admin().query(sql`
          update flux.run_partitions set lease_expires_at = clock_timestamp() - interval '1 second' where status = 'EXECUTING'
        `);
      },
    });
    const deps = await bench.deps(engine);
    expect(await executePartition(deps, await bench.claim(), alive)).toBe('completed');
    const claim = await bench.claim();
    expect(await executePartition(deps, claim, alive)).toBe('abandoned');
    const { pid } = (await holders()).at(-1) as { pid: number };
    expect(await deps.session?.take(claim.role)).toBeNull();
    await until(() => isGone(pid));
  });
});

describe('a kept session', () => {
  it('is given as new to the same login', async () => {
    const { session, role } = await opened('nasa');
    const pid = await pidOf(session);
    const state = sql`
      select current_setting('lock_timeout') as lock, current_setting('timezone') as zone,
        (select count(*)::int from pg_cursors) as cursors, (select count(*)::int from pg_listening_channels()) as channels,
        (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks
    `;
    const asNew = await one(session, state);
    expect(asNew).toMatchObject({ lock: '0', cursors: 0, channels: 0, locks: 0 });
    await session.query(sql`set lock_timeout = '77s'`);
    await session.query(sql`set timezone = 'Asia/Tokyo'`);
    await session.query(sql`listen gossip`);
    await session.query(sql`select pg_advisory_lock(42)`);
    await session.query(sql`begin`);
    await session.query(sql`declare open cursor with hold for select 1`);
    await session.query(sql`commit`);
    const kept = keepSession();
    await kept.keep(session);
    const again = await kept.take(role);
    expect(again && (await pidOf(again))).toBe(pid);
    expect(await one(session, state)).toEqual(asNew);
    expect(await kept.take(role)).toBeNull();
    await session.end();
  });

  it('ends for another login', async () => {
    const { session } = await opened('nasa');
    const pid = await pidOf(session);
    const kept = keepSession();
    await kept.keep(session);
    expect(await kept.take(database.agencyRole('noaa', 'rw'))).toBeNull();
    await until(() => isGone(pid));
  });

  it('is the last of several that are kept at once; the others end', async () => {
    const sessions = await Promise.all(['nasa', 'nasa', 'noaa'].map(async (agency) => (await opened(agency)).session));
    const [first, second, third] = await Promise.all(sessions.map(pidOf));
    const kept = keepSession();
    await Promise.all(sessions.map((session) => kept.keep(session)));
    await until(async () => (await isGone(first as number)) && (await isGone(second as number)));
    expect(await isGone(third as number)).toBe(false);
    await kept.end();
    await until(() => isGone(third as number));
  });

  it('is not given when it broke, and not kept in a transaction or after ten minutes', async () => {
    const broken = await opened('nasa');
    const kept = keepSession();
    await kept.keep(broken.session);
    await database.admin().query(sql`select pg_terminate_backend(${await pidOf(broken.session)}::int)`);
    expect(await kept.take(broken.role)).toBeNull();

    const open = await opened('nasa');
    const pid = await pidOf(open.session);
    await open.session.query(sql`begin`);
    await kept.keep(open.session);
    expect(await kept.take(open.role)).toBeNull();
    await until(() => isGone(pid));

    const old = await opened('nasa');
    const late = keepSession({ now: () => performance.now() + 600_001 });
    await late.keep(old.session);
    expect(await late.take(old.role)).toBeNull();
  });
});
