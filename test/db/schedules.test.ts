import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import * as backfillApi from '../../resolvers/backfill.ts';
import * as scheduleApi from '../../resolvers/schedule.ts';
import { sql } from '../../src/db/sql.ts';
import { isFluxError } from '../../src/errors.ts';
import { lookOnce } from '../../src/worker/scheduler.ts';
import type { WorkerDeps } from '../../src/worker/work.ts';
import { auditOf, contextOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { fakeEngine } from '../support/fake-engine.ts';
import { useWorkerBench } from '../support/worker.ts';

const database = useDatabase();
const bench = useWorkerBench(database);
const engine = fakeEngine({ values: [1, 2], partitions: 1, batchRecords: 2 });

beforeAll(async () => {
  for (const agency of ['nasa', 'noaa']) {
    await database.addAgency(agency);
    await bench.addPipeline({ agency, name: 'numbers' });
    await bench.addPipeline({ agency, name: 'dated', dataset: 'dated', path: 'in/{date}.csv' });
  }
  await bench.addPipeline({
    agency: 'nasa',
    name: 'replacing',
    dataset: 'replacing',
    mode: 'replace',
    path: 'in/{date}.csv',
  });
});
beforeEach(async () => {
  await database.admin().query(sql`update flux.schedules set status = 'REMOVED'`);
  await database.admin().query(sql`update flux.backfills set status = 'CANCELLED', finished_at = now()`);
  await database.admin().query(sql`
    update flux.run_partitions set status = 'CANCELLED', leased_by = null, lease_expires_at = null
    where status in ('AVAILABLE', 'EXECUTING')
  `);
});

const as = (agency = 'nasa') => contextOf(database, agency);
let serial = 0;
const make = (more: Partial<scheduleApi.CreateScheduleArgs> = {}, agency = 'nasa') => {
  serial += 1;
  return scheduleApi.createSchedule(as(agency), {
    name: `s${String(serial)}`,
    pipeline: 'numbers',
    cron: '0 * * * *',
    ...more,
  });
};
/** Lets the schedule's last look lie some hours in the past: the next tick that it knows is that long ago. */
const wasAway = (name: string, hours: number) =>
  database.admin().query(sql`
    update flux.schedules set next_tick_at = date_trunc('hour', clock_timestamp()) - ${hours - 1} * interval '1 hour' where name = ${name}
  `);
/** Ticks once an hour from now on, and the latest tick was at the minute that began so many minutes before this one. */
async function isDue(name: string, minutesAgo: number): Promise<void> {
  const tick = sql`date_trunc('minute', clock_timestamp()) - ${minutesAgo} * interval '1 minute'`;
  await database.admin().query(sql`
    update flux.schedules set next_tick_at = ${tick}, cron = extract(minute from ${tick}) || ' * * * *' where name = ${name}
  `);
}
/** A tick of this minute counts as on time for a minute; at the minute's end it could be missed by the time of the look. */
async function secondsLeftInMinute(seconds: number): Promise<void> {
  await vi.waitUntil(() => new Date().getSeconds() < 60 - seconds, { timeout: 20_000, interval: 100 });
}
/** A look that must not stumble. */
async function look(): Promise<void> {
  const before = bench.log.length;
  await lookOnce(await bench.deps(engine));
  expect(bench.log.slice(before)).toEqual([]);
}
interface Tick {
  status: string;
  reason: string | null;
  run_id: string | null;
  stands_for: number;
  caught_up: boolean;
}
const ticksOf = async (name: string): Promise<Tick[]> =>
  (
    await database.admin().query<Tick>(sql`
      select t.status, t.reason, t.started_run as run_id, t.stands_for, t.caught_up
      from flux.schedule_ticks t join flux.schedules s using (agency_id, schedule_id) where s.name = ${name} order by t.tick_at
    `)
  ).rows;
const runsOf = async (name: string) =>
  (
    await database.admin().query<{
      run_id: string;
      status: string;
      requested_by: string;
      payload: Record<string, unknown>;
    }>(sql`
      select run_id, status, requested_by, payload from flux.runs where requested_by = ${`schedule:${name}`} order by run_id
    `)
  ).rows;
/** Ends the runs of a schedule without a worker. */
const endRuns = (actor: string, status = 'CANCELLED') =>
  database.admin().query(sql`
    update flux.runs set status = ${status}, finished_at = clock_timestamp(),
      failure_code = ${status === 'FAILED' ? 'SOURCE_INVALID' : null}, failure_class = 'TERMINAL', failure_message = 'gone'
    where requested_by = ${actor} and status = 'PENDING'
  `);

describe('a schedule', () => {
  it('starts a run at its tick, once, as itself: current pipeline, notes, date, key and audit entry', async () => {
    const schedule = await make({
      timeZone: 'America/New_York',
      metadata: { why: 'test' },
      priority: 7,
      pipeline: 'dated',
    });
    expect(schedule).toMatchObject({ status: 'ACTIVE', catchUp: 'LATEST', overlap: 'SKIP' });
    expect(schedule.nextTickAt?.getTime()).toBeGreaterThan(Date.now());
    await look();
    expect(await ticksOf(schedule.name)).toEqual([]);
    await wasAway(schedule.name, 1);
    await look();
    await look();
    const [tick, ...others] = await ticksOf(schedule.name);
    expect(others).toEqual([]);
    const [run, ...more] = await runsOf(schedule.name);
    expect(more).toEqual([]);
    expect(tick).toMatchObject({ status: 'STARTED', run_id: run?.run_id, stands_for: 1 });
    const metadata = run?.payload['metadata'] as Record<string, string>;
    expect(metadata).toMatchObject({ why: 'test', schedule: schedule.name, pipeline: 'dated' });
    expect(run?.payload['source']).toBe(`in/${metadata['date'] ?? ''}.csv`);
    const { rows } = await database
      .admin()
      .query(sql`select priority from flux.run_partitions where run_id = ${run?.run_id}`);
    expect(rows).toEqual([{ priority: 7 }]);
    const entries = (await auditOf(database, 'nasa')).filter(({ actor }) => actor === `schedule:${schedule.name}`);
    expect(entries).toMatchObject([
      { action: 'run.start', success: true, resource_id: run?.run_id, body: { role: 'scheduler' } },
    ]);
  });

  it('makes up for three missed ticks with exactly three runs, with ten looking at once, and once again', async () => {
    const schedule = await make({ catchUp: 'ALL', overlap: 'ALLOW' });
    await wasAway(schedule.name, 4);
    // The tick of this hour is missed too, unless the hour has just begun.
    const lookers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => bench.deps(engine, { id: `w${String(i)}` })),
    );
    await Promise.all(lookers.map((deps) => lookOnce(deps)));
    await Promise.all(lookers.map((deps) => lookOnce(deps)));
    const ticks = await ticksOf(schedule.name);
    expect(ticks.map(({ status }) => status)).toEqual(['STARTED', 'STARTED', 'STARTED', 'STARTED']);
    expect(ticks.slice(0, 3).every(({ caught_up }) => caught_up)).toBe(true);
    expect(new Set(ticks.map(({ run_id }) => run_id)).size).toBe(4);
    expect((await runsOf(schedule.name)).length).toBe(4);
  });

  it('decides a tick again whose decision a crash has undone, and still starts one run', async () => {
    const schedule = await make();
    await wasAway(schedule.name, 1);
    // The worker dies after the run is there and before its transaction commits.
    const deps = await bench.deps(engine);
    const dying: WorkerDeps = { ...deps, config: { ...deps.config, id: 'dying' } };
    await database.admin().query(sql`
      create function public.die() returns trigger language plpgsql as 'begin raise exception ''dead'' using errcode = ''57P01''; end'
    `);
    await database
      .admin()
      .query(sql`create trigger die before insert on flux.schedule_ticks for each row execute function public.die()`);
    await lookOnce(dying);
    await database.admin().query(sql`drop trigger die on flux.schedule_ticks`);
    await database.admin().query(sql`drop function public.die()`);
    expect(await ticksOf(schedule.name)).toEqual([]);
    expect(await runsOf(schedule.name)).toEqual([]);
    await look();
    expect((await ticksOf(schedule.name)).map(({ status }) => status)).toEqual(['STARTED']);
    expect((await runsOf(schedule.name)).length).toBe(1);
  });

  it('skips a tick while its run is not over, and starts the next when it is', async () => {
    const schedule = await make();
    const statuses = async () => (await ticksOf(schedule.name)).map(({ status, reason }) => ({ status, reason }));
    await isDue(schedule.name, 5);
    await look();
    expect(await statuses()).toEqual([{ status: 'STARTED', reason: null }]);
    await secondsLeftInMinute(10);
    await isDue(schedule.name, 0);
    await look();
    const skipped = { status: 'SKIPPED', reason: 'STILL_RUNNING' };
    expect(await statuses()).toEqual([{ status: 'STARTED', reason: null }, skipped]);
    expect((await runsOf(schedule.name)).length).toBe(1);
    await endRuns(`schedule:${schedule.name}`);
    await isDue(schedule.name, 3);
    await look();
    expect(await statuses()).toEqual([
      { status: 'STARTED', reason: null },
      { status: 'STARTED', reason: null },
      skipped,
    ]);
    expect((await runsOf(schedule.name)).length).toBe(2);
  }, 60_000);

  it('starts ticks that wait in turn, one when the one before is over, also after a failure', async () => {
    const schedule = await make({ catchUp: 'ALL', catchUpLimit: 3, overlap: 'QUEUE' });
    await wasAway(schedule.name, 8);
    await look();
    const statuses = async () => (await ticksOf(schedule.name)).map(({ status }) => status);
    const first = await statuses();
    expect(first[0]).toBe('SKIPPED');
    expect(first.filter((status) => status === 'STARTED').length).toBe(1);
    const waiting = first.filter((status) => status === 'WAITING').length;
    expect(waiting).toBeGreaterThanOrEqual(2);
    for (let left = waiting; left > 0; left -= 1) {
      await look();
      expect((await statuses()).filter((status) => status === 'WAITING').length).toBe(left);
      await endRuns(`schedule:${schedule.name}`, 'FAILED');
      await look();
      expect((await statuses()).filter((status) => status === 'WAITING').length).toBe(left - 1);
    }
    expect((await runsOf(schedule.name)).length).toBe(waiting + 1);
  });

  it('stays silent while it is paused, which nothing makes up for; its waiting ticks go', async () => {
    const schedule = await make({ catchUp: 'ALL', overlap: 'QUEUE' });
    await wasAway(schedule.name, 3);
    await look();
    const paused = await scheduleApi.pauseSchedule(as(), { name: schedule.name, reason: 'too much' });
    expect(paused).toMatchObject({ status: 'PAUSED', nextTickAt: null });
    await endRuns(`schedule:${schedule.name}`);
    await look();
    const ticks = await ticksOf(schedule.name);
    expect(ticks.filter(({ status }) => status === 'STARTED').length).toBe(1);
    expect(ticks.some(({ reason }) => reason === 'PAUSED')).toBe(true);
    expect(ticks.some(({ status }) => status === 'WAITING')).toBe(false);
    const resumed = await scheduleApi.resumeSchedule(as(), { name: schedule.name });
    expect(resumed.nextTickAt?.getTime()).toBeGreaterThan(Date.now());
    await look();
    expect((await ticksOf(schedule.name)).length).toBe(ticks.length);
    await scheduleApi.removeSchedule(as(), { name: schedule.name, reason: 'done' });
    expect(await scheduleApi.schedule(as(), { name: schedule.name })).toBeNull();
    expect(await make({ name: schedule.name })).toMatchObject({ status: 'ACTIVE' });
    const actions = (await auditOf(database, 'nasa')).filter(({ resource_id }) => resource_id === schedule.name);
    expect(actions.map(({ action }) => action).slice(0, 4)).toEqual([
      'schedule.create',
      'schedule.pause',
      'schedule.resume',
      'schedule.remove',
    ]);
  });

  it('records a tick whose run cannot be started, and goes on', async () => {
    const schedule = await make();
    await wasAway(schedule.name, 1);
    await database
      .admin()
      .query(sql`update flux.pipelines set enabled = false where agency_id = 'nasa' and name = 'numbers'`);
    await look();
    await database
      .admin()
      .query(sql`update flux.pipelines set enabled = true where agency_id = 'nasa' and name = 'numbers'`);
    expect(await ticksOf(schedule.name)).toMatchObject([
      { status: 'FAILED', reason: 'PIPELINE_NOT_FOUND', run_id: null },
    ]);
    expect((await scheduleApi.schedule(as(), { name: schedule.name }))?.nextTickAt?.getTime()).toBeGreaterThan(
      Date.now(),
    );
  });

  it('does not fire for an agency that is disabled, and makes up for it by its policy when it is enabled', async () => {
    const schedule = await make({}, 'noaa');
    await wasAway(schedule.name, 1);
    await database.admin().query(sql`update flux.agencies set enabled = false where agency_id = 'noaa'`);
    await look();
    expect(await ticksOf(schedule.name)).toEqual([]);
    await database.admin().query(sql`update flux.agencies set enabled = true where agency_id = 'noaa'`);
    await look();
    expect((await ticksOf(schedule.name)).map(({ status }) => status)).toEqual(['STARTED']);
  });

  it.each([
    [{ cron: '* * * * * *' }, 'INVALID_INPUT'],
    [{ timeZone: 'Mars/Olympus' }, 'INVALID_INPUT'],
    [{ name: 'Not A Name' }, 'INVALID_INPUT'],
    [{ catchUpLimit: 0 }, 'INVALID_INPUT'],
    [{ priority: 1_000 }, 'INVALID_INPUT'],
    [{ source: '../{date}' }, 'INVALID_INPUT'],
    [{ metadata: { date: '2026-01-01' } }, 'INVALID_INPUT'],
    [{ metadata: { nested: {} } }, 'INVALID_INPUT'],
    [{ pipeline: 'nowhere' }, 'PIPELINE_NOT_FOUND'],
  ])('is refused with %o', async (more, code) => {
    await expect(make(more)).rejects.toMatchObject({ code });
  });

  it('is refused under a name that is taken, repeated under its key, and another agency’s is not there', async () => {
    const schedule = await make({ idempotencyKey: 'once' });
    await expect(make({ name: schedule.name })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(make({ idempotencyKey: 'once' })).rejects.toMatchObject({ code: 'IDEMPOTENCY_CONFLICT' });
    expect(await make({ idempotencyKey: 'once', name: schedule.name })).toMatchObject({ id: schedule.id });
    expect(await scheduleApi.schedule(as('noaa'), { name: schedule.name })).toBeNull();
    await expect(scheduleApi.pauseSchedule(as('noaa'), { name: schedule.name, reason: 'mine' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(scheduleApi.pauseSchedule(as(), { name: schedule.name })).rejects.toSatisfy((error) =>
      isFluxError(error, 'INVALID_INPUT'),
    );
  });
});

describe('a backfill', () => {
  const start = (more: Partial<backfillApi.StartBackfillArgs> = {}) =>
    backfillApi.startBackfill(as(), {
      pipeline: 'dated',
      firstDate: '2024-02-27',
      lastDate: '2024-03-02',
      concurrency: 2,
      reason: 'history',
      ...more,
    });
  const counts = async (backfill: backfillApi.Backfill) => backfillApi.countsOf(as(), backfill);
  const dates = async (backfill: backfillApi.Backfill) =>
    (await backfillApi.datesOf(as(), backfill, { first: 100 })).edges.map(({ node }) => node);
  const again = async ({ id }: backfillApi.Backfill) => (await backfillApi.backfill(as(), id)) as backfillApi.Backfill;

  it('works each date once in a run of its own, no more at once than it may, and completes', async () => {
    const backfill = await start();
    const deps = await bench.deps(engine);
    let most = 0;
    for (let round = 0; round < 6 && (await again(backfill)).status === 'RUNNING'; round += 1) {
      await lookOnce(deps);
      most = Math.max(most, (await counts(backfill)).running);
      await bench.drain(deps);
    }
    await lookOnce(deps);
    expect(most).toBe(2);
    expect(await again(backfill)).toMatchObject({ status: 'COMPLETED', finishedAt: expect.any(Date) as Date });
    expect(await counts(backfill)).toEqual({ total: 5, pending: 0, running: 0, completed: 5, failed: 0, cancelled: 0 });
    const all = await dates(backfill);
    expect(all.map(({ date }) => date)).toEqual(['2024-02-27', '2024-02-28', '2024-02-29', '2024-03-01', '2024-03-02']);
    expect(new Set(all.map(({ runId }) => runId)).size).toBe(5);
    const { rows } = await database.admin().query<{ source: string; key: string }>(sql`
      select r.payload ->> 'source' as source, k.key
      from flux.backfill_dates d
      join flux.runs r on r.agency_id = d.agency_id and r.run_id = d.started_run
      join flux.idempotency_keys k on k.agency_id = d.agency_id and k.operation = 'run.start' and k.result ->> 'runId' = r.run_id::text
      where d.backfill_id = ${backfill.id} order by d.date
    `);
    expect(rows.map(({ source }) => source)).toEqual(all.map(({ date }) => `in/${date}.csv`));
    expect(rows.map(({ key }) => key)).toEqual(all.map((date) => backfillApi.dateKey(date)));
  });

  it('starts no date twice with ten workers looking at once', async () => {
    const backfill = await start({ concurrency: 5 });
    const lookers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => bench.deps(engine, { id: `w${String(i)}` })),
    );
    await Promise.all(lookers.map((deps) => lookOnce(deps)));
    const { rows } = await database
      .admin()
      .query(sql`select count(*)::int as n from flux.runs where requested_by = ${`backfill:${backfill.id}`}`);
    expect(rows).toEqual([{ n: 5 }]);
  });

  it('goes on after a failure, says which date failed, and a resume starts that one alone', async () => {
    const backfill = await start({ concurrency: 5 });
    await look();
    const [failing] = await dates(backfill);
    await database.admin().query(sql`
      update flux.runs set status = 'FAILED', finished_at = clock_timestamp(), failure_code = 'SOURCE_INVALID',
        failure_class = 'TERMINAL', failure_message = 'no such file' where run_id = ${failing?.runId}
    `);
    await database.admin().query(sql`
      update flux.run_partitions set status = 'CANCELLED' where run_id = ${failing?.runId}
    `);
    await expect(backfillApi.resumeBackfill(as(), { id: backfill.id, reason: 'early' })).rejects.toMatchObject({
      code: 'INVALID_TRANSITION',
    });
    await bench.drain(await bench.deps(engine));
    await look();
    expect(await again(backfill)).toMatchObject({ status: 'FAILED' });
    expect((await dates(backfill))[0]).toMatchObject({ status: 'FAILED', message: 'no such file', attempt: 1 });

    expect(await backfillApi.resumeBackfill(as(), { id: backfill.id, reason: 'the file is there now' })).toMatchObject({
      status: 'RUNNING',
    });
    await look();
    const [next, ...rest] = await dates(backfill);
    expect(next).toMatchObject({ status: 'RUNNING', attempt: 2 });
    expect(next?.runId).not.toBe(failing?.runId);
    expect(rest.every(({ status, attempt }) => status === 'COMPLETED' && attempt === 1)).toBe(true);
    await bench.drain(await bench.deps(engine));
    await look();
    expect(await again(backfill)).toMatchObject({ status: 'COMPLETED' });
  });

  it('cancels: no new dates, its runs are asked to stop, and it is over when they are', async () => {
    const backfill = await start();
    await look();
    const cancelled = await backfillApi.cancelBackfill(as(), { id: backfill.id, reason: 'wrong range' });
    expect(cancelled.status).toBe('CANCELLING');
    await look();
    expect(await again(backfill)).toMatchObject({ status: 'CANCELLED' });
    expect(await counts(backfill)).toMatchObject({ cancelled: 5, pending: 0, running: 0 });
    const { rows } = await database
      .admin()
      .query(sql`select distinct status from flux.runs where requested_by = ${`backfill:${backfill.id}`}`);
    expect(rows).toEqual([{ status: 'CANCELLED' }]);
    await expect(backfillApi.cancelBackfill(as(), { id: backfill.id, reason: 'again' })).rejects.toMatchObject({
      code: 'INVALID_TRANSITION',
    });
  });

  it('records a date whose run cannot be started', async () => {
    const backfill = await start({ lastDate: '2024-02-27' });
    await database
      .admin()
      .query(sql`update flux.pipelines set enabled = false where agency_id = 'nasa' and name = 'dated'`);
    await look();
    await database
      .admin()
      .query(sql`update flux.pipelines set enabled = true where agency_id = 'nasa' and name = 'dated'`);
    expect(await again(backfill)).toMatchObject({ status: 'FAILED' });
    expect(await dates(backfill)).toMatchObject([{ status: 'FAILED', runId: null }]);
  });

  it.each([
    [{ pipeline: 'numbers' }, 'INVALID_INPUT'],
    [{ pipeline: 'replacing' }, 'INVALID_INPUT'],
    [{ pipeline: 'nowhere' }, 'PIPELINE_NOT_FOUND'],
    [{ firstDate: '2024-03-03' }, 'INVALID_INPUT'],
    [{ firstDate: '2024-02-30' }, 'INVALID_INPUT'],
    [{ concurrency: 51 }, 'INVALID_INPUT'],
    [{ source: 'always-the-same.csv' }, 'INVALID_INPUT'],
    [{ source: '/etc/{date}' }, 'INVALID_INPUT'],
  ])('is refused with %o', async (more, code) => {
    await expect(start(more)).rejects.toMatchObject({ code });
  });

  it('of another agency is not there', async () => {
    const backfill = await start();
    expect(await backfillApi.backfill(as('noaa'), backfill.id)).toBeNull();
    await expect(backfillApi.cancelBackfill(as('noaa'), { id: backfill.id, reason: 'mine' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(backfillApi.cancelBackfill(as(), { id: 'nonsense', reason: 'no' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });
});
