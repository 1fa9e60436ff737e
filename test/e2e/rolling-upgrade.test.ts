/**
 * Another version without downtime, as docs/operations/upgrade.md says: the migration first, then the processes one by one, while users
 * of several agencies start runs, watch them and look around. Nobody may notice.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey } from '../support/encryption.ts';
import { eventually, temporaryFolder } from '../support/flux.ts';
import { type Installation, isReady, openInstallation, type Running } from '../support/load/installation.ts';
import { type Load, registerLoad, startLoad } from '../support/load/load.ts';
import { makeNextRelease, type NextRelease } from '../support/load/next-release.ts';

/** What a release adds: columns of the busiest tables, a table, an index, a function. */
const migration = `
  alter table flux.runs add column next_note text;
  alter table flux.run_events add column next_weight integer not null default 1;
  alter table flux.run_partitions add column next_note text;
  create index runs_next_note on flux.runs (agency_id, next_note) where next_note is not null;
  create table flux.next_notes (agency_id text not null references flux.agencies, note text not null);
  alter table flux.next_notes enable row level security, force row level security;
  create function flux.next_note_count() returns bigint language sql stable set search_path = ''
    return (select count(*) from flux.next_notes);
`;

const agencies = ['roll-north', 'roll-south'];
const options = { agencies, usersPerAgency: 2, records: 1_000, batchRecords: 50, thinkMs: 500, cancelEvery: 3 };

const database = useDatabase();
let installation: Installation;
let next: NextRelease;
let remove: () => Promise<void>;
let load: Load | undefined;

beforeAll(async () => {
  const temporary = await temporaryFolder('rolling');
  ({ remove } = temporary);
  next = await makeNextRelease(`${temporary.folder}/next`, migration);
  installation = await openInstallation({
    folder: temporary.folder,
    adminUrl: database.adminUrl,
    contextKey: database.contextKey,
    dataKey: testDataKey,
    agencies,
    records: options.records,
  });
});
afterAll(async () => {
  await load?.finish();
  await installation.close();
  await remove();
});

/** Batches that a worker process has committed, and requests that an API process has answered. */
async function workDone({ metricsUrl }: Running): Promise<number> {
  const text = await (await fetch(`${metricsUrl}/metrics`)).text();
  const numbers = text.matchAll(/^flux_(?:requests_total|checkpoints_saved_total)(?:\{.*\})? (\d+)$/gm);
  return [...numbers].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Waits until each of the processes has done something more than until now. */
async function letWork(processes: readonly Running[]): Promise<void> {
  for (const running of processes) {
    const before = await workDone(running);
    await eventually(
      () => workDone(running),
      (count) => count > before,
      120_000,
    );
  }
}

async function replace(old: Running, checkout?: string): Promise<Running> {
  const successor = await installation.start(old.command, checkout);
  expect(await installation.stop(old)).toMatchObject({ code: 0, signal: null });
  return successor;
}

test(
  'the processes of a release follow each other one by one, and back again, and no run, event or request is lost',
  { timeout: 900_000 },
  async () => {
    const sealer = await installation.start('sealer');
    const workers = [await installation.start('worker'), await installation.start('worker')];
    const apis = [await installation.start('serve'), await installation.start('serve')];
    await registerLoad(installation, options);
    load = startLoad(installation, options);
    await letWork([...workers, ...apis]);

    const migrated = await installation.operate(['migrate', '--json'], next.checkout);
    expect(migrated.code, migrated.stderr).toBe(0);
    const { version, name } = next.migration;
    expect(JSON.parse(migrated.stdout)).toEqual({ applied: [`${String(version).padStart(4, '0')}_${name}`] });
    // The older processes go on beside it.
    await letWork([...workers, ...apis]);
    for (const running of [sealer, ...workers, ...apis]) expect(await isReady(running)).toBe(true);
    const started = load.ledger.runs.size;

    const newSealer = await replace(sealer, next.checkout);
    const [firstWorker, secondWorker] = workers as [Running, Running];
    const [firstApi, secondApi] = apis as [Running, Running];
    const mixed = [await replace(firstWorker, next.checkout), await replace(firstApi, next.checkout)] as const;
    await letWork([secondWorker, secondApi, ...mixed]);
    const newer = [await replace(secondWorker, next.checkout), await replace(secondApi, next.checkout)] as const;
    await letWork([...mixed, ...newer]);
    // And back again: the release before works on the database as it is.
    const older = [await replace(newer[0]), await replace(newer[1])] as const;
    await letWork([...mixed, ...older]);
    expect(await isReady(newSealer)).toBe(true);

    await load.finish();
    const { ledger, isolation, events } = load;
    expect(ledger.failures).toEqual([]);
    expect(ledger.mistakes).toEqual([]);
    expect(isolation.breaches).toEqual([]);
    expect(events.faults).toEqual([]);
    expect([...ledger.runs.values()].filter(({ status }) => status !== 'COMPLETED')).toEqual([]);
    expect(ledger.runs.size).toBeGreaterThan(started);
    expect([...ledger.runs.values()].some(({ cancelled }) => cancelled)).toBe(true);
    expect(events.events).toBeGreaterThan(0);
    await expectWholeRuns(ledger.runs);
    await eventually(
      () => installation.operate(['audit', 'verify']),
      ({ code }) => code === 0,
      60_000,
    );
  },
);

/** What the users saw is what the tables have: no run beside theirs, no event missing, and runs that both versions' workers had a part in. */
async function expectWholeRuns(runs: Load['ledger']['runs']): Promise<void> {
  const { rows } = await database.admin().query<{ run: string; status: string; events: bigint; last: bigint }>(sql`
    select r.run_id::text as run, r.status, count(*) as events, max(e.seq) as last
    from flux.runs r join flux.run_events e using (agency_id, run_id)
    group by r.run_id, r.status
  `);
  const stored = rows.map(({ run, status, events, last }) => ({ run, status, events, last }));
  const seen = [...runs].map(([run, { status, events }]) => ({ run, status, events, last: events }));
  const byRun = (a: { run: string }, b: { run: string }): number => a.run.localeCompare(b.run);
  expect(stored.sort(byRun)).toEqual(seen.sort(byRun));
  const { rows: shared } = await database.admin().query<{ workers: number }>(sql`
    select count(distinct data ->> 'worker')::int as workers
    from flux.run_events where data ? 'worker'
    group by run_id order by 1 desc limit 1
  `);
  expect(shared[0]?.workers).toBeGreaterThan(1);
}
