import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import fc from 'fast-check';
import pgCopyStreams from 'pg-copy-streams';
import { describe, expect, test, vi } from 'vitest';

import { connect, createPool } from '../../src/db/pool.ts';
import { ident, literal, sql } from '../../src/db/sql.ts';
import { inTransaction, together } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();

describe('values', () => {
  test('any text arrives as it was, bound or as a literal, whatever it looks like', async () => {
    const text = fc.string({ unit: 'binary' }).filter((value) => !value.includes('\0') && value.isWellFormed());
    await fc.assert(
      fc.asyncProperty(text, async (value) => {
        const { rows } = await database
          .admin()
          .query(sql`select ${value}::text as bound, ${literal(value)} as literal`);
        expect(rows).toEqual([{ bound: value, literal: value }]);
      }),
      { numRuns: 200 },
    );
  });

  test.each(['a"b', 'select', "it's", '$1', 'a.b', 'ÄÖ', ' ; drop schema flux; --'])(
    'the identifier %s is one name, never syntax',
    async (name) => {
      await database.admin().query(sql`create temporary table ${ident(name)} (${ident(name)} int)`);
      await database.admin().query(sql`drop table if exists ${ident(name)}`);
      const { rows } = await database.admin().query(sql`select 1 as ${ident(name)}`);
      expect(rows).toEqual([{ [name]: 1 }]);
    },
  );

  test('a bigint arrives as a bigint, beyond what a double can hold; the other types as the driver gives them', async () => {
    const { rows } = await database.admin().query(sql`
      select 9007199254740993::bigint as count, 1::int as n, 1.5::float8 as ratio, 1.10::numeric as price, true as flag,
        '{"a": 1}'::jsonb as body, array[1, 2] as list, array[9007199254740993]::bigint[] as counts
    `);
    expect(rows).toEqual([
      {
        count: 9007199254740993n,
        n: 1,
        ratio: 1.5,
        price: '1.10',
        flag: true,
        body: { a: 1 },
        list: [1, 2],
        counts: expect.anything(),
      },
    ]);
  });
});

describe('a prepared connection', () => {
  test('prepares each text once, and copies in between', async () => {
    const session = await connect({ url: database.adminUrl, applicationName: 'prepared', prepared: true });
    try {
      expect(session.pipelined).toBe(false);
      const insert = (n: number): Promise<unknown> =>
        session.query(sql`insert into pg_temp.counted (n) values (${n}::int) /* once */`);
      await session.query(sql`create temporary table counted (n int)`);
      await inTransaction(session, async (tx) => {
        await insert(1);
        await pipeline(Readable.from(['2\n']), tx.client.query(pgCopyStreams.from('copy pg_temp.counted from stdin')));
        await insert(3);
      });
      const { rows: counted } = await session.query(sql`select n from pg_temp.counted order by n`);
      expect(counted).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
      const { rows: prepared } = await session.query(sql`
        select generic_plans + custom_plans as runs from pg_prepared_statements where statement like '%/* once */'
      `);
      expect(prepared).toEqual([{ runs: 2n }]);
    } finally {
      await session.end();
    }
  });

  test('sends what is asked for together in one packet, and copies and fails in between', async () => {
    const session = await connect({ url: database.adminUrl, applicationName: 'prepared', prepared: true });
    const echo = (n: number) => async (): Promise<number | undefined> =>
      (await session.query<{ n: number }>(sql`select ${n}::int as n`)).rows[0]?.n;
    // The end of a statement in the extended protocol; one that waited for the answer before it would not have come yet.
    const { connection } = session.client as unknown as { connection: { sync(): void } };
    const sync = vi.spyOn(connection, 'sync');
    try {
      const burst = together(session, echo(1), echo(2), echo(3));
      expect(sync).toHaveBeenCalledTimes(3);
      expect(await burst).toEqual([1, 2, 3]);
      await session.query(sql`create temporary table counted (n int)`);
      await inTransaction(
        session,
        async (tx) => {
          await pipeline(
            Readable.from(['2\n']),
            tx.client.query(pgCopyStreams.from('copy pg_temp.counted from stdin')),
          );
        },
        async (tx) => {
          await tx.query(sql`insert into pg_temp.counted (n) values (${1}::int)`);
        },
      );
      const failing = together(session, echo(4), () => session.query(sql`select 1 / ${0}::int`), echo(5));
      await expect(failing).rejects.toMatchObject({ code: '22012' });
      expect((await session.query(sql`select n from pg_temp.counted order by n`)).rows).toEqual([{ n: 1 }, { n: 2 }]);
      expect(session.pipelined).toBe(false);
    } finally {
      await session.end();
    }
  });

  test('ends also while a burst is under way that nobody answers', async () => {
    const session = await connect({ url: database.adminUrl, applicationName: 'prepared', prepared: true });
    const { rows } = await session.query<{ pid: number }>(sql`select pg_backend_pid() as pid`);
    const burst = together(
      session,
      () => session.query(sql`select pg_sleep(${600}::int)`),
      () => session.query(sql`select 1`),
    );
    const failed = expect(burst).rejects.toThrow(/terminated/);
    await session.end();
    await failed;
    // By its number: it may not have read yet what it is to do.
    await database.admin().query(sql`select pg_terminate_backend(${rows[0]?.pid ?? 0}::int, 10000)`);
  });

  test('rolls back what stands behind an opening that failed', async () => {
    const session = await connect({ url: database.adminUrl, applicationName: 'prepared', prepared: true });
    try {
      await session.query(sql`create temporary table counted (n int)`);
      const opened = inTransaction(
        session,
        () => session.query(sql`insert into pg_temp.counted (n) values (${1}::int)`),
        () => Promise.reject(new Error('not ours')),
      );
      await expect(opened).rejects.toThrow('not ours');
      expect((await session.query(sql`select n from pg_temp.counted`)).rows).toEqual([]);
      expect((await session.query(sql`select now() = statement_timestamp() as alone`)).rows).toEqual([{ alone: true }]);
    } finally {
      await session.end();
    }
  });

  test('goes on after a failed statement, and after the table that one names has changed', async () => {
    const session = await connect({ url: database.adminUrl, applicationName: 'prepared', prepared: true });
    try {
      await session.query(sql`create temporary table changing (n int)`);
      const divide = (by: number): Promise<unknown> => session.query(sql`select 1 / ${by}::int`);
      const insert = (): Promise<unknown> => session.query(sql`insert into pg_temp.changing (n) values (${1}::int)`);
      await insert();
      await expect(divide(0)).rejects.toMatchObject({ code: '22012' });
      await divide(1);
      await session.query(sql`alter table pg_temp.changing add column m int`);
      await insert();
      expect((await session.query(sql`select n, m from pg_temp.changing`)).rows).toHaveLength(2);
    } finally {
      await session.end();
    }
  });
});

describe('a pool', () => {
  test('lends a connection again after a failed statement, in no transaction', async () => {
    const pool = createPool({ url: database.adminUrl, max: 1, applicationName: 'one' });
    try {
      const pids: unknown[] = [];
      const pid = sql`select pg_backend_pid() as pid, pg_current_xact_id_if_assigned() as xid`;
      await expect(
        pool.withConnection(async (connection) => {
          pids.push((await connection.query(pid)).rows[0]);
          await connection.query(sql`select 1 / 0`);
        }),
      ).rejects.toMatchObject({ code: '22012' });
      pids.push((await pool.query(pid)).rows[0]);
      expect(pids[0]).toEqual(pids[1]);
      expect(pool.stats()).toEqual({ total: 1, idle: 1, waiting: 0 });
    } finally {
      await pool.end();
    }
  });

  test('never lends again a connection that was left inside a transaction', async () => {
    const pool = createPool({ url: database.adminUrl, max: 1, applicationName: 'one' });
    try {
      await expect(
        pool.withConnection(async (connection) => {
          await connection.query(sql`begin`);
          await connection.query(sql`create table public.left_behind (n int)`);
          throw new Error('no commit');
        }),
      ).rejects.toThrow('no commit');
      const { rows } = await pool.query(sql`select to_regclass('public.left_behind') as found`);
      expect(rows).toEqual([{ found: null }]);
    } finally {
      await pool.end();
    }
  });

  test('destroys a connection that is handed back in the middle of a transaction without an error', async () => {
    const pool = createPool({ url: database.adminUrl, max: 1, applicationName: 'one' });
    try {
      await pool.withConnection(async (connection) => {
        await connection.query(sql`begin`);
        await connection.query(sql`select set_config('flux.context', 'left behind', true)`);
      });
      const { rows } = await pool.query(sql`select current_setting('flux.context', true) as context`);
      expect(rows).toEqual([{ context: null }]);
    } finally {
      await pool.end();
    }
  });

  test('survives its connections being ended by the server, idle or lent', async () => {
    const lost: Error[] = [];
    const pool = createPool({
      url: database.adminUrl,
      max: 1,
      applicationName: 'victim',
      onError: (error) => lost.push(error),
    });
    const killVictims = sql`
      select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'victim'
    `;
    try {
      await expect(
        pool.withConnection(async (connection) => {
          await connection.query(sql`select 1`);
          await database.admin().query(killVictims);
          await connection.query(sql`select 1`);
        }),
      ).rejects.toThrow();
      await pool.query(sql`select 1`);
      await database.admin().query(killVictims);
      // The next lending may meet the dead connection before the pool has heard of it; the one after must not.
      await pool.query(sql`select 1`).catch(() => undefined);
      const { rows } = await pool.query(sql`select 1 as one`);
      expect(rows).toEqual([{ one: 1 }]);
    } finally {
      await pool.end();
    }
  });

  test('ends a statement that runs longer than allowed', async () => {
    const pool = createPool({ url: database.adminUrl, max: 1, applicationName: 'short', statementTimeoutMs: 50 });
    try {
      await expect(pool.query(sql`select pg_sleep(10)`)).rejects.toMatchObject({ code: '57014' });
    } finally {
      await pool.end();
    }
  });

  test('says UNAVAILABLE when no connection comes free in time, or nobody listens', async () => {
    const pool = createPool({ url: database.adminUrl, max: 1, applicationName: 'busy', connectTimeoutMs: 50 });
    try {
      // The one connection may take longer than that to open; once it is idle it is there at once.
      const opened = (): Promise<boolean> =>
        pool.query(sql`select 1`).then(
          () => true,
          () => false,
        );
      await expect.poll(opened).toBe(true);
      await pool.withConnection(async () => {
        await expect(pool.withConnection(async () => undefined)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
      });
    } finally {
      await pool.end();
    }
    await expect(connect({ url: 'postgres://x@127.0.0.1:1/x', applicationName: 'x' })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });
  });
});

test('leaves no lock to a client that says nothing for ten seconds inside a transaction', async () => {
  const limit = sql`select current_setting('idle_in_transaction_session_timeout') as idle`;
  for (const pool of [database.apiPool(), database.workerPool()]) {
    expect((await pool.query(limit)).rows).toEqual([{ idle: '10s' }]);
  }
});

describe('a transaction', () => {
  test('commits what its work did, and nothing of work that throws', async () => {
    const db = database.admin();
    await db.query(sql`create table public.notes (n int)`);
    await db.withConnection((connection) =>
      inTransaction(connection, (tx) => tx.query(sql`insert into public.notes values (1)`)),
    );
    await expect(
      db.withConnection((connection) =>
        inTransaction(connection, async (tx) => {
          await tx.query(sql`insert into public.notes values (2)`);
          throw new Error('changed my mind');
        }),
      ),
    ).rejects.toThrow('changed my mind');
    expect((await db.query(sql`select n from public.notes`)).rows).toEqual([{ n: 1 }]);
  });

  test('reports a constraint that is checked at commit', async () => {
    const db = database.admin();
    await db.query(sql`create table public.deferred (n int unique deferrable initially deferred)`);
    const twice = db.withConnection((connection) =>
      inTransaction(connection, (tx) => tx.query(sql`insert into public.deferred values (1), (1)`)),
    );
    await expect(twice).rejects.toMatchObject({ code: '23505' });
    expect((await db.query(sql`select n from public.deferred`)).rows).toEqual([]);
  });

  test('throws when the connection is lost before the commit is acknowledged', async () => {
    const db = database.admin();
    await expect(
      db.withConnection((connection) =>
        inTransaction(connection, async (tx) => {
          const { rows } = await tx.query<{ pid: number }>(sql`select pg_backend_pid() as pid`);
          await db.query(sql`select pg_terminate_backend(${(rows[0] as { pid: number }).pid}, 5000)`);
        }),
      ),
    ).rejects.toThrow();
  });
});
