import fc from 'fast-check';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { lockLease } from '../../src/db/partitions.ts';
import { type Claim, chargeTurn, claimPartition, heartbeat, keepTurn } from '../../src/db/queue.ts';
import { sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';

const database = useDatabase();
const agencies = ['nasa', 'noaa', 'usgs'] as const;
type Agency = (typeof agencies)[number];
const quantum = 10;
const leaseMs = 600_000;

beforeAll(async () => {
  for (const agency of agencies) {
    await database.addAgency(agency);
    await insertRun(database, agency); // brings the pipeline; the rows of a flood are made in one statement
  }
});
beforeEach(async () => {
  const admin = database.admin();
  await admin.query(sql`delete from flux.run_partitions`);
  await admin.query(sql`delete from flux.agency_turns`);
  await admin.query(sql`update flux.agencies set share_weight = 1, executing_cap = null, enabled = true`);
});

/** Queues runs of one partition each, as fast as the server can. */
async function flood(agency: Agency, count: number, { priority = 0 } = {}): Promise<void> {
  await database.admin().query(sql`
    with made as (
      insert into flux.runs (agency_id, pipeline_name, pipeline_version, stage, content_type, use_case, classification,
        requested_by, payload)
      select ${agency}, 'sample', 1, 'FULL', 'text', 'research', 0, 'test', '{}' from generate_series(1, ${count}::int)
      returning run_id
    )
    insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage, priority)
    select ${agency}, run_id, 0, 'BATCHES', 'FULL', ${priority} from made
  `);
  await database.admin().query(sql`analyze flux.run_partitions`);
}
const share = (agency: Agency, { weight = 1, cap = null }: { weight?: number; cap?: number | null }) =>
  database.admin().query(sql`
    update flux.agencies set share_weight = ${weight}, executing_cap = ${cap}::int where agency_id = ${agency}
  `);
const tryClaim = (id = 'w'): Promise<Claim | null> => claimPartition(database.workerPool(), { id, leaseMs, quantum });
async function claim(id = 'w'): Promise<Claim> {
  const claimed = await tryClaim(id);
  if (!claimed) throw new Error('expected a partition, found none');
  return claimed;
}
const keep = (held: Claim): Promise<boolean> => keepTurn(database.workerPool(), held, { quantum, batches: quantum });

/** What a worker does at the end of a quantum, or of its work. */
async function settle(held: Claim, status: 'AVAILABLE' | 'COMPLETED', batches = quantum): Promise<void> {
  await database.admin().query(sql`
    update flux.run_partitions
    set status = ${status}, leased_by = null, lease_expires_at = null, takings = 0, available_at = clock_timestamp()
    where run_id = ${held.runId} and partition_no = ${held.partitionNo}
  `);
  await chargeTurn(database.workerPool(), held, batches - 1);
}

describe('an agency that floods the queue', () => {
  it('delays another’s single run by one quantum at most: 10,000 runs queued, every worker busy with them', async () => {
    await flood('nasa', 10_000);
    const held = [await claim('one'), await claim('two'), await claim('three')];
    for (let turn = 0; turn < 20; turn += 1) {
      const oldest = held.shift() as Claim;
      await settle(oldest, 'AVAILABLE');
      held.push(await claim(oldest.worker));
    }
    expect(new Set(held.map(({ agencyId }) => agencyId))).toEqual(new Set(['nasa']));
    const single = await insertRun(database, 'noaa');
    // Whichever of the three ends its quantum first: the queue does not give it the same again, but the newcomer.
    const first = held[1] as Claim;
    expect(await keep(first)).toBe(false);
    await settle(first, 'AVAILABLE');
    expect(await claim('two')).toMatchObject({ agencyId: 'noaa', runId: single.runId });
    // And the flood goes on.
    expect(await claim('four')).toMatchObject({ agencyId: 'nasa' });
  });

  it('also when its weight is the highest there is, or its runs have a priority', async () => {
    await share('nasa', { weight: 100 });
    await flood('nasa', 200, { priority: 9 });
    for (let turn = 0; turn < 150; turn += 1) await settle(await claim(), 'COMPLETED');
    const single = await insertRun(database, 'noaa');
    expect(await claim()).toMatchObject({ runId: single.runId });
  });

  it('cannot save up turns while it is away, nor can who was away', async () => {
    await flood('nasa', 60);
    for (let turn = 0; turn < 30; turn += 1) await settle(await claim(), 'COMPLETED');
    await flood('noaa', 30);
    const order: string[] = [];
    for (let turn = 0; turn < 20; turn += 1) {
      const held = await claim();
      order.push(held.agencyId);
      await settle(held, 'COMPLETED');
    }
    expect(order.filter((agency) => agency === 'noaa').length).toBe(10);
  });

  it('costs a claim no more pages with 10,000 waiting than with 100', async () => {
    const pages = async (): Promise<number> => {
      const { rows } = await database.admin().query<{ 'QUERY PLAN': [{ Plan: { 'Shared Hit Blocks': number } }] }>(sql`
        explain (analyze, buffers, format json) select from flux.claim_partition('w', ${leaseMs})
      `);
      return (rows[0]?.['QUERY PLAN'][0].Plan['Shared Hit Blocks'] as number) || 0;
    };
    const least = async (): Promise<number> => {
      const counts: number[] = [];
      for (let i = 0; i < 8; i += 1) counts.push(await pages());
      return Math.min(...counts);
    };
    await flood('noaa', 50);
    await flood('nasa', 50);
    const few = await least();
    await flood('nasa', 10_000);
    expect(few).toBeGreaterThan(0);
    expect(await least()).toBeLessThan(few * 2 + 50);
  });
});

describe('weights', () => {
  it('divide the batches, whatever each taking costs and in whatever order takings end', async () => {
    const cost = fc.integer({ min: 1, max: quantum });
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 })),
        fc.tuple(cost, cost, cost),
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.nat(), { minLength: 90, maxLength: 90 }),
        async (weights, costs, workers, picks) => {
          await database.admin().query(sql`delete from flux.run_partitions`);
          await database.admin().query(sql`delete from flux.agency_turns`);
          for (const [i, agency] of agencies.entries()) {
            await share(agency, { weight: weights[i] as number });
            await flood(agency, 95);
          }
          const served = new Map<string, number>(agencies.map((agency) => [agency, 0]));
          const held: Claim[] = [];
          for (let i = 0; i < workers; i += 1) held.push(await claim());
          for (const pick of picks) {
            const [ended] = held.splice(pick % held.length, 1) as [Claim];
            const batches = costs[agencies.indexOf(ended.agencyId as Agency)] as number;
            served.set(ended.agencyId, (served.get(ended.agencyId) ?? 0) + batches);
            await settle(ended, 'COMPLETED', batches);
            held.push(await claim());
          }
          // All three waited all the time: their accounts lie no further apart than what is under way.
          const accounts = agencies.map((agency, i) => (served.get(agency) as number) / (weights[i] as number));
          const apart = Math.max(...accounts) - Math.min(...accounts);
          expect(apart).toBeLessThanOrEqual(quantum * (workers + 1));
        },
      ),
      // A failure is not shrunk: each try is hundreds of claims.
      { numRuns: 6, endOnFailure: true },
    );
  }, 120_000);

  it('give three turns for one', async () => {
    await share('nasa', { weight: 3 });
    await flood('nasa', 60);
    await flood('noaa', 60);
    const order: string[] = [];
    for (let turn = 0; turn < 40; turn += 1) {
      const held = await claim();
      order.push(held.agencyId);
      await settle(held, 'COMPLETED');
    }
    expect(order.filter((agency) => agency === 'nasa').length).toBe(30);
    // Interleaved: the heavier one does not take all its turns at once.
    expect(order.join(' ')).not.toContain('nasa nasa nasa nasa nasa');
  });
});

describe('caps', () => {
  it('hold exactly, however many ask at once', async () => {
    await share('nasa', { cap: 3 });
    await flood('nasa', 20);
    await flood('noaa', 2);
    const claims = await Promise.all(Array.from({ length: 12 }, (_, i) => tryClaim(`w${String(i)}`)));
    const taken = claims.filter((claimed) => claimed !== null).map(({ agencyId }) => agencyId);
    expect(taken.sort()).toEqual(['nasa', 'nasa', 'nasa', 'noaa', 'noaa']);
    await settle(claims.find((claimed) => claimed?.agencyId === 'nasa') as Claim, 'COMPLETED');
    expect(await claim()).toMatchObject({ agencyId: 'nasa' });
    expect(await tryClaim()).toBeNull();
  });

  it('count what is abandoned, which is taken over all the same', async () => {
    await share('nasa', { cap: 1 });
    await flood('nasa', 3);
    const gone = await claim();
    await database.admin().query(sql`
      update flux.run_partitions set lease_expires_at = clock_timestamp() - interval '1 s' where run_id = ${gone.runId}
    `);
    expect(await claim('other')).toMatchObject({ runId: gone.runId, takenOver: true, epoch: 2 });
    expect(await tryClaim()).toBeNull();
  });
});

describe('claims at once', () => {
  /** Held until the end of `work`: what a claim takes to itself that has to see what the others take. */
  async function whileOneDecides(work: () => Promise<void>): Promise<void> {
    await database.workerPool().withConnection(async (tx) => {
      await tx.query(sql`begin`);
      await tx.query(sql`select pg_advisory_xact_lock(1718353936)`);
      await work();
      await tx.query(sql`rollback`);
    });
  }
  async function accounts(): Promise<Map<string, number>> {
    const { rows } = await database.admin().query<{ agency: string; served: number }>(sql`
      select agency_id as agency, served from flux.agency_turns
    `);
    return new Map(rows.map(({ agency, served }) => [agency, served]));
  }

  it('do not wait for each other while it is known who waits and no cap has to be kept', async () => {
    await flood('nasa', 5);
    await flood('noaa', 5);
    await claim('first'); // takes stock of who waits
    await whileOneDecides(async () => {
      const taken = [await claim('a'), await claim('b'), await claim('c')];
      expect(new Set(taken.map(({ runId }) => runId)).size).toBe(3);
      expect(new Set(taken.map(({ agencyId }) => agencyId))).toEqual(new Set(['nasa', 'noaa']));
    });
  });

  it('take each partition once, and every one of them is charged', async () => {
    await share('nasa', { weight: 2 });
    await flood('nasa', 60);
    await flood('noaa', 60);
    const claims: Claim[] = [];
    const one = async (worker: string): Promise<void> => {
      for (let i = 0; i < 10; i += 1) claims.push(await claim(worker));
    };
    await Promise.all(Array.from({ length: 8 }, (_, i) => one(`w${String(i)}`)));
    expect(new Set(claims.map(({ runId }) => runId)).size).toBe(80);
    const of = (agency: string): number => claims.filter(({ agencyId }) => agencyId === agency).length;
    const served = await accounts();
    expect(served.get('nasa')).toBeCloseTo(of('nasa') / 2);
    expect(served.get('noaa')).toBeCloseTo(of('noaa'));
    // Each claim sees all but the seven that may be under way beside it.
    expect(Math.abs(of('nasa') / 2 - of('noaa'))).toBeLessThanOrEqual(8);
  });

  it('go past what an open claim holds to the next agency, and wait for its answer nowhere', async () => {
    await flood('nasa', 2);
    await flood('noaa', 1);
    expect(await claim('first')).toMatchObject({ agencyId: 'nasa' });
    await database.workerPool().withConnection(async (tx) => {
      await tx.query(sql`begin`);
      expect(await claimPartition(tx, { id: 'open', leaseMs, quantum })).toMatchObject({ agencyId: 'noaa' });
      expect(await claim('second')).toMatchObject({ agencyId: 'nasa' });
      await tx.query(sql`rollback`);
    });
    expect(await claim('third')).toMatchObject({ agencyId: 'noaa' });
  });
});

describe('within an agency', () => {
  it('priority comes first, then the older run with all its partitions', async () => {
    const old = await insertRun(database, 'nasa', { partitions: 2 });
    const young = await insertRun(database, 'nasa');
    const urgent = await insertRun(database, 'nasa', { priority: 3 });
    const first = await claim();
    expect(first.runId).toBe(urgent.runId);
    const second = await claim();
    // Giving a turn up does not send a run to the end.
    await settle(second, 'AVAILABLE');
    const order = [second.runId, (await claim()).runId, (await claim()).runId, (await claim()).runId];
    expect(order).toEqual([old.runId, old.runId, old.runId, young.runId]);
  });
});

describe('at the end of a quantum', () => {
  it('a partition stays where it is while nobody waits, and each quantum is charged', async () => {
    await flood('nasa', 1);
    const held = await claim();
    for (let i = 0; i < 3; i += 1) expect(await keep(held)).toBe(true);
    const { rows } = await database.admin().query(sql`select served from flux.agency_turns where agency_id = 'nasa'`);
    expect(rows).toEqual([{ served: 31 }]);
  });

  it('it stays while only younger runs of its own agency wait, and goes for an older or a more urgent one', async () => {
    await flood('nasa', 2);
    const older = await claim('one');
    const younger = await claim('two');
    await flood('nasa', 5);
    expect(await keep(older)).toBe(true);
    await settle(older, 'AVAILABLE');
    expect(await keep(younger)).toBe(false);
    await claim('one');
    expect(await keep(younger)).toBe(true);
    await flood('nasa', 1, { priority: 1 });
    expect(await keep(younger)).toBe(false);
  });

  it('it goes when another’s is abandoned, its agency is disabled, its cap was lowered, or the lease is not its own', async () => {
    await flood('nasa', 2);
    await flood('noaa', 1);
    const [one, two, three] = [await claim('one'), await claim('two'), await claim('three')];
    const held = [one, two, three].find(({ agencyId }) => agencyId === 'noaa') as Claim;
    const ours = [one, two, three].find(({ agencyId }) => agencyId === 'nasa') as Claim;
    expect(await keep(held)).toBe(true);
    expect(await keep({ ...held, epoch: 2 })).toBe(false);
    expect(await keep({ ...held, worker: 'somebody' })).toBe(false);
    await database.admin().query(sql`
      update flux.run_partitions set lease_expires_at = clock_timestamp() - interval '1 s' where run_id = ${ours.runId}
    `);
    expect(await keep(held)).toBe(false);
    await settle(ours, 'COMPLETED');
    await share('nasa', { cap: 1 });
    expect(await keep(held)).toBe(true);
    await database.admin().query(sql`update flux.agencies set enabled = false where agency_id = 'noaa'`);
    expect(await keep(held)).toBe(false);
  });
});

describe('a claim that a crash of the server has undone', () => {
  it('binds nobody: the next claim has the same epoch, and the first holder can neither beat nor write', async () => {
    await flood('nasa', 1);
    const lost = await claim('one');
    await database.admin().query(sql`
      update flux.run_partitions set status = 'AVAILABLE', epoch = 0, leased_by = null, lease_expires_at = null
    `);
    const next = await claim('two');
    expect(next.epoch).toBe(lost.epoch);
    expect(await heartbeat(database.workerPool(), lost, leaseMs)).toMatchObject({ held: false });
    expect(await heartbeat(database.workerPool(), next, leaseMs)).toMatchObject({ held: true });
    expect(await lockLease(database.agencyPool('nasa'), lost)).toBe(false);
    expect(await lockLease(database.agencyPool('nasa'), next)).toBe(true);
  });
});
