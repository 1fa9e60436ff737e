import { afterEach, beforeAll, expect, it } from 'vitest';

import {
  advancePartition,
  finishPartition,
  insertPartitions,
  insertPublishWhenDone,
  lockLease,
  lockRun,
  returnPartition,
} from '../../src/db/partitions.ts';
import type { Connection } from '../../src/db/pool.ts';
import { type Claim, claimPartition, heartbeat } from '../../src/db/queue.ts';
import { reopenPartitions } from '../../src/db/resume-plan.ts';
import {
  askHoldersToStop,
  cancelAllPartitions,
  cancelIdlePartitions,
  countOpenPartitions,
} from '../../src/db/run-control.ts';
import { sql } from '../../src/db/sql.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { createRandom } from '../simulation/random.ts';
import * as simulated from '../simulation/statements.ts';
import { begin, commit, createStorage, openSession, type Session, type Storage } from '../simulation/storage.ts';
import { useDatabase } from '../support/database.ts';
import { useWorkerBench } from '../support/worker.ts';

/**
 * What is SQL in the product has a twin in test/simulation. Both are given the same statements, in orders that chance chooses, and
 * have to give the same answers and leave the same partitions behind: what the simulation proves would otherwise be its own.
 */
const database = useDatabase();
const bench = useWorkerBench(database);
const counts = { read: 1, written: 1, rejected: 0, filtered: 0, bytes: 10 };
const leaseMs = 600_000;

beforeAll(async () => {
  await database.addAgency('faa');
  await bench.addPipeline({ agency: 'faa' });
});

// A run that a test leaves behind must not be claimed by the next.
afterEach(async () => {
  await database.admin().query(sql`
    update flux.run_partitions set status = 'CANCELLED', leased_by = null, lease_expires_at = null
    where status in ('AVAILABLE', 'EXECUTING')
  `);
});

interface Pair {
  runId: string;
  db: Storage;
  now: number;
  holders: { real: Claim; made: simulated.Taken }[];
}

/** A transaction in both. */
async function both<A, B>(
  pair: Pair,
  real: (tx: Connection) => Promise<A>,
  made: (session: Session) => B,
): Promise<[A, B]> {
  const answer = await database
    .agencyPool('faa')
    .withConnection((connection) => inTransaction(connection, (tx) => real(tx)));
  const session = openSession('test');
  begin(session);
  const twin = made(session);
  commit(pair.db, session, pair.now);
  return [answer, twin];
}

const clock = ({ now }: Pair): simulated.Clock => ({ now, at: now, bug: null });

async function claim(pair: Pair): Promise<void> {
  const real = await claimPartition(database.workerPool(), { id: 'w', leaseMs });
  const made = simulated.claimPartition(pair.db, clock(pair), 'w', leaseMs);
  expect(real && { no: real.partitionNo, epoch: real.epoch, takings: real.takings, over: real.takenOver }).toEqual(
    made && { no: made.partitionNo, epoch: made.epoch, takings: made.takings, over: made.takenOver },
  );
  if (real && made) pair.holders.push({ real, made });
}

/** Every statement of a holder, also of one that holds nothing any more. */
const asHolder: ((pair: Pair, holder: Pair['holders'][number]) => Promise<void>)[] = [
  async (pair, { real, made }) => {
    const answer = await heartbeat(database.workerPool(), real, leaseMs);
    expect(answer).toEqual(simulated.heartbeat(pair.db, clock(pair), made, leaseMs));
  },
  async (pair, { real, made }) => {
    const [a, b] = await both(
      pair,
      (tx) => lockLease(tx, real),
      (session) => simulated.lockLease(pair.db, clock(pair), session, made),
    );
    expect(a).toBe(b);
  },
  async (pair, { real, made }) => {
    const [a, b] = await both(
      pair,
      (tx) => advancePartition(tx, real, counts, { progress: true }),
      (session) =>
        simulated.advancePartition(pair.db, session, clock(pair), made, { counts, steps: [], progress: true }),
    );
    expect(a).toBe(b);
  },
  ...(['COMPLETED', 'COMPLETED', 'FAILED', 'CANCELLED'] as const).map(
    (status) =>
      async (pair: Pair, { real, made }: Pair['holders'][number]): Promise<void> => {
        const [a, b] = await both(
          pair,
          async (tx) => {
            const held = await finishPartition(tx, real, status);
            await lockRun(tx, real);
            return [held, await insertPublishWhenDone(tx, real), await countOpenPartitions(tx, real)];
          },
          (session) => [
            simulated.finishPartition(pair.db, session, clock(pair), made, status),
            simulated.insertPublishWhenDone(pair.db, session),
            simulated.countOpenPartitions(pair.db, session),
          ],
        );
        expect(a).toEqual(b);
      },
  ),
  ...[true, false].map((uncount) => async (pair: Pair, { real, made }: Pair['holders'][number]): Promise<void> => {
    const how = { delayMs: 0, uncount };
    const [a, b] = await both(
      pair,
      (tx) => returnPartition(tx, real, how),
      (session) => simulated.returnPartition(pair.db, session, clock(pair), made, how),
    );
    expect(a).toBe(b);
  }),
];

/** What others do to the run's partitions. */
const asOthers: ((pair: Pair) => Promise<void>)[] = [
  claim,
  claim,
  claim,
  async (pair) => {
    await database.admin().query(sql`
      update flux.run_partitions set lease_expires_at = clock_timestamp() - interval '1 second'
      where run_id = ${pair.runId} and status = 'EXECUTING'
    `);
    for (const [no, row] of pair.db.partitions) {
      if (row.status === 'EXECUTING') pair.db.partitions.set(no, { ...row, leaseExpiresAt: pair.now - 1_000 });
    }
  },
  async (pair) => {
    const key = { agencyId: 'faa', runId: pair.runId };
    await both(
      pair,
      (tx) => cancelIdlePartitions(tx, key),
      (session) => simulated.cancelPartitions(pair.db, session, { statuses: ['AVAILABLE'] }),
    );
    const [a, b] = await both(
      pair,
      async (tx) => (await askHoldersToStop(tx, key, 1_000)).partitions,
      (session) => simulated.askHoldersToStop(pair.db, session, pair.now + 1_000),
    );
    expect(a).toEqual(b);
  },
  async (pair) => {
    const [a, b] = await both(
      pair,
      (tx) => cancelAllPartitions(tx, { agencyId: 'faa', runId: pair.runId }),
      (session) => simulated.cancelPartitions(pair.db, session, { statuses: ['AVAILABLE', 'EXECUTING'] }),
    );
    expect(a.sort((x, y) => x.partition - y.partition)).toEqual(b);
  },
  ...[0, 1].map(() => async (pair: Pair): Promise<void> => {
    const [a, b] = await both(
      pair,
      // As the API's role, which resumes; here the superuser, because only the statement is of interest.
      () => database.admin().withConnection((tx) => reopenPartitions(tx, { agencyId: 'faa', runId: pair.runId })),
      (session) => simulated.reopenPartitions(pair.db, session, pair.now),
    );
    expect(a).toBe(b);
  }),
];

async function expectSame(pair: Pair): Promise<void> {
  const { rows } = await database.admin().query(sql`
    select partition_no as no, kind, status, epoch, takings, leased_by as "leasedBy", cancel_by is not null as stopping,
      records_read::int as read
    from flux.run_partitions where run_id = ${pair.runId} order by partition_no
  `);
  const made = [...pair.db.partitions.values()]
    .sort((a, b) => a.no - b.no)
    .map(({ no, kind, status, epoch, takings, leasedBy, cancelBy, counts: { read } }) => ({
      ...{ no, kind, status, epoch, takings, leasedBy, stopping: cancelBy !== null, read },
    }));
  expect(rows).toEqual(made);
}

it.each([1, 2, 3, 4, 5, 6, 7, 8])('gives the answers of the real statements, seed %i', async (seed) => {
  const random = createRandom(seed);
  const pair: Pair = { runId: await bench.queueRun('faa', 'numbers'), db: createStorage(), now: 10_000, holders: [] };
  await claim(pair);
  const plan = pair.holders[0] as Pair['holders'][number];
  await both(
    pair,
    async (tx) => {
      const partitions = [1, 2, 3].map((partitionNo) => ({ partitionNo, kind: 'BATCHES' as const, range: {} }));
      await insertPartitions(tx, plan.real, partitions);
      return finishPartition(tx, plan.real, 'COMPLETED');
    },
    (session) => {
      simulated.insertPartitions(
        session,
        [1, 2, 3].map(() => ({ from: 0, to: 1 })),
      );
      return simulated.finishPartition(pair.db, session, clock(pair), plan.made, 'COMPLETED');
    },
  );
  for (let i = 0; i < 60; i += 1) {
    const holder = pair.holders.length > 0 && random.chance(0.6) ? random.pick(pair.holders) : null;
    if (holder) await random.pick(asHolder)(pair, holder);
    else await random.pick(asOthers)(pair);
    await expectSame(pair);
  }
});
