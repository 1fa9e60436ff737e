import { beforeAll, describe, expect, it } from 'vitest';

import { gatherReads } from '../../src/db/gathered-reads.ts';
import type { Connection, Pool } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { FluxError } from '../../src/errors.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
});

/** The pool, and how many connections it has lent. */
function counted(pool: Pool): Pool & { lent: number } {
  const counting = {
    ...pool,
    lent: 0,
    withConnection: <T>(use: (connection: Connection) => Promise<T>, signal?: AbortSignal): Promise<T> => {
      counting.lent += 1;
      return pool.withConnection(use, signal);
    },
  };
  return counting;
}

const agency = async (tx: Connection): Promise<string> => {
  const { rows } = await tx.query<{ slug: string }>(sql`select flux.current_agency() as slug`);
  return rows[0]?.slug ?? '';
};
const transaction = async (tx: Connection): Promise<string> => {
  const { rows } = await tx.query<{ at: string }>(sql`select now()::text as at`);
  return rows[0]?.at ?? '';
};
const fails = async (tx: Connection): Promise<unknown> => (await tx.query(sql`select 1 / 0 as nothing`)).rows;

function reads(of: 'nasa' | 'noaa' = 'nasa') {
  const pool = counted(database.apiPool());
  return { pool, read: gatherReads(pool, () => database.tenant(of)) };
}

describe('reads of one operation', () => {
  it('that are asked for at once share a transaction under the caller’s context', async () => {
    const { pool, read } = reads();
    const asked = await Promise.all([read(agency), read(transaction), read(transaction), read(agency)]);
    expect(asked[0]).toBe('nasa');
    expect(asked[3]).toBe('nasa');
    expect(asked[1]).toBe(asked[2]);
    expect(pool.lent).toBe(1);
  });

  it('that are asked for later have a transaction of their own', async () => {
    const { pool, read } = reads();
    const first = await read(transaction);
    expect(await read(transaction)).not.toBe(first);
    expect(pool.lent).toBe(2);
  });

  it('of two callers never share one', async () => {
    const pool = counted(database.apiPool());
    const [nasa, noaa] = ['nasa', 'noaa'].map((of) => gatherReads(pool, () => database.tenant(of)));
    const seen = await Promise.all([nasa?.(agency), noaa?.(agency), nasa?.(agency), noaa?.(agency)]);
    expect(seen).toEqual(['nasa', 'noaa', 'nasa', 'noaa']);
    expect(pool.lent).toBe(2);
  });

  it('that may ask twice do so in the transaction that they share', async () => {
    const { pool, read } = reads();
    const twice = (tx: Connection) => transaction(tx).then(async (first) => [first, await transaction(tx)]);
    const [[first, second] = [], other] = await Promise.all([read(twice), read(transaction)]);
    expect(first).toBe(second);
    expect(other).toBe(first);
    expect(pool.lent).toBe(1);
  });

  it('get their own answers although one of them fails in the database, and that one its own error', async () => {
    const { read } = reads();
    const settled = await Promise.allSettled([read(agency), read(fails), read(agency), read(transaction)]);
    expect(settled[0]).toEqual({ status: 'fulfilled', value: 'nasa' });
    expect(settled[1]).toMatchObject({ status: 'rejected', reason: { code: '22012' } });
    expect(settled[2]).toEqual({ status: 'fulfilled', value: 'nasa' });
    expect(settled[3]).toMatchObject({ status: 'fulfilled' });
  });

  it('that fail by a rule of ours break nothing, and are not asked again', async () => {
    const { pool, read } = reads();
    let asked = 0;
    const refused = (): Promise<never> => {
      asked += 1;
      return Promise.reject(new FluxError('NOT_FOUND', 'There is no such thing.'));
    };
    const settled = await Promise.allSettled([read(refused), read(agency)]);
    expect(settled[0]).toMatchObject({ status: 'rejected', reason: { code: 'NOT_FOUND' } });
    expect(settled[1]).toEqual({ status: 'fulfilled', value: 'nasa' });
    expect(asked).toBe(1);
    expect(pool.lent).toBe(1);
  });

  it('all fail when the context is forged, and read nothing', async () => {
    const read = gatherReads(database.apiPool(), () => database.tenant('nasa').replace(/.$/, '!'));
    for (const settled of await Promise.allSettled([read(agency), read(agency)])) {
      expect(settled).toMatchObject({ status: 'rejected', reason: { code: '42501' } });
    }
  });

  it('all fail with what the context’s minting throws', async () => {
    const ended = new FluxError('UNAUTHENTICATED', 'The token has ended.');
    const read = gatherReads(database.apiPool(), () => {
      throw ended;
    });
    for (const settled of await Promise.allSettled([read(agency), read(agency)])) {
      expect(settled).toEqual({ status: 'rejected', reason: ended });
    }
  });

  it('end with the caller', async () => {
    const leaving = new AbortController();
    const read = gatherReads(database.apiPool(), () => database.tenant('nasa'), leaving.signal);
    const slow = (tx: Connection): Promise<unknown> => {
      setImmediate(() => leaving.abort());
      return tx.query(sql`select pg_sleep(60)`);
    };
    for (const settled of await Promise.allSettled([read(slow), read(agency)])) {
      expect(settled.status).toBe('rejected');
    }
  });
});
