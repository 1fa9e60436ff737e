import { beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { waitingReasonOfRun } from '../../resolvers/run-standing.ts';
import { run as readRun } from '../../resolvers/run.ts';
import { chargeTurn, claimPartition, reportWorker } from '../../src/db/queue.ts';
import { sql } from '../../src/db/sql.ts';
import type { WaitingReason } from '../../src/domain/waiting.ts';
import { contextOf } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';

const database = useDatabase();

beforeAll(async () => {
  for (const agency of ['nasa', 'noaa']) await database.addAgency(agency);
});
beforeEach(async () => {
  await database.admin().query(sql`delete from flux.run_partitions`);
  await database.admin().query(sql`delete from flux.agency_turns`);
  await database.admin().query(sql`delete from flux.workers`);
  await database.admin().query(sql`update flux.agencies set executing_cap = null`);
});

const works = (id = 'w'): Promise<void> => reportWorker(database.workerPool(), id, 'WORKING');
const claim = (id = 'w') => claimPartition(database.workerPool(), { id, leaseMs: 60_000 });
async function reason({ agency, runId }: { agency: string; runId: string }): Promise<WaitingReason | null> {
  const context = contextOf(database, agency);
  const run = await readRun(context, runId);
  if (!run) throw new Error(`expected run ${runId}, found none`);
  return waitingReasonOfRun(context, run);
}

describe('a run that waits says', () => {
  it('that there is no worker, until one is there, and its place meanwhile', async () => {
    await insertRun(database, 'nasa');
    const second = await insertRun(database, 'nasa', { priority: -1 });
    expect(await reason(second)).toMatchObject({ code: 'NO_WORKER', queuePosition: 2, until: null });
    await works();
    expect(await reason(second)).toMatchObject({ code: 'QUEUED', queuePosition: 2 });
    await database.admin().query(sql`update flux.workers set seen_at = clock_timestamp() - interval '11 s'`);
    expect(await reason(second)).toMatchObject({ code: 'NO_WORKER' });
  });

  it('that the workers are stopping, while no other is there', async () => {
    const run = await insertRun(database, 'nasa');
    await works();
    await reportWorker(database.workerPool(), 'w', 'DRAINING');
    expect(await reason(run)).toMatchObject({ code: 'DRAINING' });
    await works('other');
    expect(await reason(run)).toMatchObject({ code: 'QUEUED', queuePosition: 1 });
    await reportWorker(database.workerPool(), 'other', null);
    await reportWorker(database.workerPool(), 'w', null);
    expect(await reason(run)).toMatchObject({ code: 'NO_WORKER' });
  });

  it('that the agency’s cap is reached, and what it is', async () => {
    await works();
    await database.admin().query(sql`update flux.agencies set executing_cap = 1 where agency_id = 'nasa'`);
    const first = await insertRun(database, 'nasa', { priority: 1 });
    const second = await insertRun(database, 'nasa');
    expect(await reason(first)).toMatchObject({ code: 'QUEUED', queuePosition: 1 });
    await claim();
    expect(await reason(first)).toBeNull();
    expect(await reason(second)).toMatchObject({ code: 'AGENCY_CAP', queuePosition: 1 });
    expect((await reason(second))?.message).toContain('its cap allows, 1');
  });

  it('that the turn is with other agencies, which is then true of the next claim', async () => {
    await works();
    const first = await insertRun(database, 'nasa');
    const held = await claim();
    if (held) await chargeTurn(database.workerPool(), held, 9);
    const next = await insertRun(database, 'nasa');
    expect(held?.runId).toBe(first.runId);
    expect(await reason(next)).toMatchObject({ code: 'QUEUED', queuePosition: 1 });
    const other = await insertRun(database, 'noaa');
    expect(await reason(next)).toMatchObject({ code: 'FAIR_SHARE', queuePosition: 1 });
    expect(await reason(other)).toMatchObject({ code: 'QUEUED', queuePosition: 1 });
    expect((await claim())?.runId).toBe(other.runId);
    expect(await reason(next)).toMatchObject({ code: 'QUEUED' });
    expect((await claim())?.runId).toBe(next.runId);
  });

  it('how many come before it, in the order in which they are claimed', async () => {
    await works();
    const runs = [
      await insertRun(database, 'nasa', { partitions: 2, priority: 2 }),
      await insertRun(database, 'nasa', { priority: 1 }),
      await insertRun(database, 'nasa'),
    ];
    const places = await Promise.all(runs.map(async (run) => (await reason(run))?.queuePosition));
    expect(places).toEqual([1, 3, 4]);
    expect((await reason(runs[2] as (typeof runs)[0]))?.message).toContain('3 partitions of the agency’s other runs');
    const order: (string | undefined)[] = [];
    for (let i = 0; i < 4; i += 1) order.push((await claim())?.runId);
    expect(order).toEqual([runs[0], runs[0], runs[1], runs[2]].map((run) => run?.runId));
  });

  it('that it is reassigned only where somebody is there to take it', async () => {
    await works();
    const run = await insertRun(database, 'nasa');
    await claim();
    await database.admin().query(sql`
      update flux.run_partitions set lease_expires_at = clock_timestamp() - interval '1 s' where run_id = ${run.runId}
    `);
    expect(await reason(run)).toMatchObject({ code: 'BEING_REASSIGNED' });
    await reportWorker(database.workerPool(), 'w', null);
    expect(await reason(run)).toMatchObject({ code: 'NO_WORKER', queuePosition: null });
  });

  it('nothing of other agencies but their number, and to another agency nothing at all', async () => {
    await insertRun(database, 'nasa');
    const { rows } = await database.apiPool().withConnection(async (connection) => {
      await connection.query(sql`begin`);
      await connection.query(sql`select set_config('flux.context', ${database.tenant('noaa')}, true)`);
      const found = await connection.query<Record<string, unknown>>(sql`select * from flux.queue_outlook()`);
      await connection.query(sql`rollback`);
      return found;
    });
    expect(rows).toEqual([
      { workers: 0, draining: 0, executing: 0, cap: null, agencies_first: expect.any(Number) as number },
    ]);
    await expect(database.apiPool().query(sql`select * from flux.queue_outlook()`)).rejects.toMatchObject({
      code: '42501',
    });
  });
});
