import { beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { lockLease, recordHolder } from '../../src/db/partitions.ts';
import { type Connection, connect } from '../../src/db/pool.ts';
import { type Claim, claimPartition, heartbeat, queueDepth, rescuePartitions } from '../../src/db/queue.ts';
import { agencyRole } from '../../src/db/roles.ts';
import { sql } from '../../src/db/sql.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun } from '../support/fixtures.ts';

const database = useDatabase();
const leaseMs = 60_000;

beforeAll(async () => {
  for (const agency of ['nasa', 'noaa', 'usgs']) await database.addAgency(agency);
});
beforeEach(async () => {
  // Every test starts with an empty queue.
  await database.admin().query(sql`
    update flux.run_partitions
    set status = 'CANCELLED', leased_by = null, lease_expires_at = null
    where status in ('AVAILABLE', 'EXECUTING')
  `);
});

const claim = (id = 'w1', ms = leaseMs): Promise<Claim | null> =>
  claimPartition(database.workerPool(), { id, leaseMs: ms });

async function mustClaim(id = 'w1', ms = leaseMs): Promise<Claim> {
  const claimed = await claim(id, ms);
  expect(claimed).not.toBeNull();
  return claimed as Claim;
}

/** Lets a lease run out without waiting for it. */
async function expireLease({ agencyId, runId, partitionNo }: Claim): Promise<void> {
  await database.admin().query(sql`
    update flux.run_partitions
    set lease_expires_at = clock_timestamp() - interval '1 second'
    where agency_id = ${agencyId} and run_id = ${runId} and partition_no = ${partitionNo}
  `);
}

describe('flux.claim_partition', () => {
  test('gives nothing when there is no work', async () => {
    expect(await claim()).toBeNull();
    expect(await queueDepth(database.workerPool())).toBe(0n);
  });

  test('takes an abandoned partition before fresh ones, also of an agency that has more under way', async () => {
    const abandoned = await insertRun(database, 'nasa');
    const claimed = await mustClaim();
    await insertRun(database, 'nasa');
    await mustClaim('w2');
    await insertRun(database, 'noaa');
    await expireLease(claimed);
    expect(await mustClaim('w3')).toMatchObject({ runId: abandoned.runId, epoch: 2, takenOver: true });
  });

  test('passes over an agency that has no login, and serves the others', async () => {
    await insertRun(database, 'noaa');
    const run = await insertRun(database, 'nasa');
    await database.admin().query(sql`delete from flux.agency_logins where agency_id = 'noaa' and access = 'rw'`);
    try {
      expect((await mustClaim()).runId).toBe(run.runId);
      expect(await claim()).toBeNull();
    } finally {
      await database.admin().query(sql`
        insert into flux.agency_logins (agency_id, role_name, access)
        values ('noaa', ${agencyRole(database.name, 'noaa', 'rw')}, 'rw')
      `);
    }
  });

  test('takes a partition once: epoch 1, the agency’s login, and nothing left', async () => {
    const run = await insertRun(database, 'nasa');
    expect(await queueDepth(database.workerPool())).toBe(1n);
    expect(await claim()).toEqual({
      agencyId: 'nasa',
      runId: run.runId,
      partitionNo: 0,
      kind: 'BATCHES',
      stage: 'FULL',
      epoch: 1,
      takings: 1,
      takenOver: false,
      role: database.agencyRole('nasa'),
      worker: 'w1',
    });
    expect(await claim('w2')).toBeNull();
    expect(await queueDepth(database.workerPool())).toBe(0n);
  });

  test('gives twenty claimers at once twenty different partitions', async () => {
    await insertRun(database, 'nasa', { partitions: 12 });
    await insertRun(database, 'noaa', { partitions: 8 });
    const taken: string[] = [];
    const worker = async (id: string): Promise<void> => {
      for (let next = await claim(id); next !== null; next = await claim(id)) {
        taken.push(`${next.runId}/${String(next.partitionNo)}`);
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, i) => worker(`w${String(i)}`)));
    expect(taken.length).toBe(20);
    expect(new Set(taken).size).toBe(20);
  });

  test('serves the agency with the fewest executing partitions first, so a flood starves nobody', async () => {
    await insertRun(database, 'nasa', { partitions: 6 });
    await insertRun(database, 'noaa', { partitions: 2 });
    await insertRun(database, 'usgs', { partitions: 1 });
    const order: string[] = [];
    for (let next = await claim(); next !== null; next = await claim()) order.push(next.agencyId);
    expect(new Set(order.slice(0, 3))).toEqual(new Set(['nasa', 'noaa', 'usgs']));
    expect(order.slice(0, 5).sort()).toEqual(['nasa', 'nasa', 'noaa', 'noaa', 'usgs']);
    expect(order.slice(5)).toEqual(['nasa', 'nasa', 'nasa', 'nasa']);
  });

  test('takes the higher priority first, then the older', async () => {
    const low = await insertRun(database, 'nasa');
    const lower = await insertRun(database, 'nasa');
    const high = await insertRun(database, 'nasa', { priority: 5 });
    const order = [await mustClaim(), await mustClaim(), await mustClaim()].map(({ runId }) => runId);
    expect(order).toEqual([high.runId, low.runId, lower.runId]);
  });

  test('leaves what is not available yet, and what belongs to a disabled agency', async () => {
    const { runId } = await insertRun(database, 'nasa');
    await insertRun(database, 'noaa');
    await database.admin().query(sql`
      update flux.run_partitions set available_at = clock_timestamp() + interval '1 hour' where run_id = ${runId}
    `);
    await database.admin().query(sql`update flux.agencies set enabled = false where agency_id = 'noaa'`);
    expect(await claim()).toBeNull();
    await database.admin().query(sql`update flux.agencies set enabled = true where agency_id = 'noaa'`);
    expect(await claim()).toMatchObject({ agencyId: 'noaa' });
  });

  test('takes over an abandoned partition with the next epoch, and says so', async () => {
    await insertRun(database, 'nasa');
    const first = await mustClaim('w1');
    expect(await claim('w2')).toBeNull();
    await expireLease(first);
    expect(await claim('w2')).toMatchObject({ epoch: 2, takings: 2, takenOver: true });
  });

  test('skips a partition whose late holder still has its lease row locked', async () => {
    await insertRun(database, 'nasa');
    const held = await mustClaim('w1');
    await database.agencyPool('nasa').withConnection((connection) =>
      inTransaction(connection, async (tx) => {
        expect(await lockLease(tx, held)).toBe(true);
        await expireLease(held);
        expect(await claim('w2')).toBeNull();
      }),
    );
    await expireLease(held);
    expect(await claim('w2')).toMatchObject({ takenOver: true });
  });

  test('is closed to the API and to an agency’s login, and the worker reads no table itself', async () => {
    for (const pool of [database.apiPool(), database.agencyPool('nasa')]) {
      await expect(pool.query(sql`select flux.claim_partition('w1', 1000)`)).rejects.toMatchObject({ code: '42501' });
    }
    for (const table of [sql`flux.run_partitions`, sql`flux.agencies`, sql`flux.runs`, sql`flux.agency_logins`]) {
      const attempt = database.workerPool().query(sql`select from ${table}`);
      await expect(attempt).rejects.toMatchObject({ code: '42501' });
    }
  });
});

describe('flux.heartbeat', () => {
  test('extends a lease that is held, also while its holder’s transaction has it locked', async () => {
    await insertRun(database, 'nasa');
    const held = await mustClaim('w1', 2_000);
    const until = async (): Promise<Date> => {
      const { rows } = await database
        .admin()
        .query<{ at: Date }>(sql`select lease_expires_at as at from flux.run_partitions where run_id = ${held.runId}`);
      return (rows[0] as { at: Date }).at;
    };
    const before = await until();
    await database.agencyPool('nasa').withConnection((connection) =>
      inTransaction(connection, async (tx) => {
        expect(await lockLease(tx, held)).toBe(true);
        expect((await heartbeat(database.workerPool(), held, leaseMs)).held).toBe(true);
      }),
    );
    expect((await until()).getTime()).toBeGreaterThan(before.getTime() + 30_000);
  });

  test('is false, for good, once the lease has run out or another holds it', async () => {
    await insertRun(database, 'nasa');
    const first = await mustClaim('w1');
    await expireLease(first);
    expect((await heartbeat(database.workerPool(), first, leaseMs)).held).toBe(false);
    const second = await mustClaim('w2');
    expect((await heartbeat(database.workerPool(), first, leaseMs)).held).toBe(false);
    expect((await heartbeat(database.workerPool(), second, leaseMs)).held).toBe(true);
  });
});

describe('the fence', () => {
  test('lets a holder write, and no zombie', async () => {
    await insertRun(database, 'nasa');
    const zombie = await mustClaim('w1');
    await expireLease(zombie);
    const fenced = (held: Claim): Promise<boolean> =>
      database
        .agencyPool('nasa')
        .withConnection((connection) => inTransaction(connection, (tx) => lockLease(tx, held)));
    expect(await fenced(zombie)).toBe(false);
    const holder = await mustClaim('w2');
    expect(await fenced(zombie)).toBe(false);
    expect(await fenced(holder)).toBe(true);
  });
});

describe('flux.rescue_partitions', () => {
  test('ends the backend of an expired holder, so that the partition can be taken', async () => {
    await insertRun(database, 'nasa');
    const held = await mustClaim('w1');
    const frozen = await holderInTransaction(held);
    try {
      await expireLease(held);
      expect(await claim('w2')).toBeNull();
      expect(await rescuePartitions(database.workerPool())).toBe(1);
      await frozen.lost;
      // The client is told before the server has let go of what its session had locked.
      await expect.poll(() => claim('w2')).toMatchObject({ epoch: 2, takenOver: true });
    } finally {
      await frozen.connection.end().catch(() => undefined);
    }
  });

  test('leaves a holder alone whose lease still runs', async () => {
    await insertRun(database, 'nasa');
    const held = await mustClaim('w1');
    const holder = await holderInTransaction(held);
    try {
      expect(await rescuePartitions(database.workerPool())).toBe(0);
      await holder.connection.query(sql`rollback`);
    } finally {
      await holder.connection.end();
    }
  });

  test('leaves a backend alone that only happens to have the recorded pid', async () => {
    await insertRun(database, 'nasa');
    const held = await mustClaim('w1');
    await database.admin().withConnection(async (connection) => {
      await connection.query(
        sql`update flux.run_partitions set holder_pid = pg_backend_pid() where run_id = ${held.runId}`,
      );
      await expireLease(held);
      expect(await rescuePartitions(database.workerPool())).toBe(0);
      await connection.query(sql`select 1`);
    });
  });

  /** A client that took its lease row's lock and froze: `lost` resolves when the server has ended it. */
  async function holderInTransaction(
    held: Claim,
  ): Promise<{ connection: Connection & { end(): Promise<void> }; lost: Promise<void> }> {
    let tell: () => void = () => undefined;
    const lost = new Promise<void>((resolve) => (tell = resolve));
    const connection = await connect({
      url: database.urlFor(held.role),
      applicationName: 'frozen holder',
      onError: () => tell(),
    });
    expect(await recordHolder(connection, held)).toBe(true);
    await connection.query(sql`begin`);
    expect(await lockLease(connection, held)).toBe(true);
    return { connection, lost };
  }
});
