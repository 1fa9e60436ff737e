import type { Duplex } from 'node:stream';

import { afterEach, beforeAll, describe, expect, test } from 'vitest';

import { createPool, type Pool } from '../../src/db/pool.ts';
import { type Sql, sql } from '../../src/db/sql.ts';
import { inTenant, inTenantAtOnce, inTenantToEnd } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();

async function isAsleep(pid: number | undefined): Promise<boolean> {
  const { rowCount } = await database.admin().query(sql`
    select from pg_stat_activity where pid = ${pid} and wait_event = 'PgSleep'
  `);
  return rowCount === 1;
}

const readName = sql`select name from flux.agencies`;
let pool: Pool | undefined;

beforeAll(() => database.addAgency('nasa'));
afterEach(async () => {
  await pool?.end();
  pool = undefined;
});

describe.each([
  ['an ordinary pool', false],
  ['a pipelined pool', true],
])('a tenant’s transaction on %s', (_name, pipeline) => {
  const open = (): Pool => (pool = createPool({ url: database.apiUrl, max: 1, applicationName: 'tenant', pipeline }));

  test('commits what its work did, and leaves no context behind', async () => {
    const api = open();
    await inTenant(api, database.tenant('nasa'), (tx) =>
      tx.query(sql`update flux.agencies set name = 'NASA, renamed'`),
    );
    const { rows } = await inTenant(api, database.tenant('nasa'), (tx) => tx.query(readName));
    expect(rows).toEqual([{ name: 'NASA, renamed' }]);
    await expect(api.query(readName)).rejects.toMatchObject({ code: '42501' });
  });

  test('rolls back when its work throws, and tells that failure', async () => {
    const api = open();
    const work = inTenant(api, database.tenant('nasa'), async (tx) => {
      await tx.query(sql`update flux.agencies set name = 'never'`);
      throw new Error('changed my mind');
    });
    await expect(work).rejects.toThrow('changed my mind');
    const { rows } = await inTenant(api, database.tenant('nasa'), (tx) => tx.query(readName));
    expect(rows).not.toEqual([{ name: 'never' }]);
  });

  test('tells the statement’s failure, not that of the statements behind it, and lends the connection again', async () => {
    const api = open();
    const work = inTenant(api, database.tenant('nasa'), async (tx) => {
      const statements = pipeline ? [sql`select 1 / 0`, readName] : [sql`select 1 / 0`];
      await Promise.all(statements.map((statement) => tx.query(statement)));
    });
    await expect(work).rejects.toMatchObject({ code: '22012' });
    expect(api.stats()).toEqual({ total: 1, idle: 1, waiting: 0 });
    expect((await inTenant(api, database.tenant('nasa'), (tx) => tx.query(readName))).rows).toHaveLength(1);
  });

  test('commits its last statements with their answers, and rolls all of it back when the server refuses one', async () => {
    const api = open();
    const renamed = (name: string) => sql`update flux.agencies set name = ${name} returning name`;
    const end = (...statements: readonly Sql[]) =>
      inTenantToEnd(api, database.tenant('nasa'), async (tx) => {
        await tx.query(readName);
        return { statements, values: (answers) => answers.flatMap(({ rows }) => rows) };
      });
    expect(await end(renamed('one'), readName)).toEqual({ committed: [{ name: 'one' }, { name: 'one' }] });
    await expect(end(renamed('two'), sql`select 1 / 0`, renamed('three'))).rejects.toMatchObject({ code: '22012' });
    // What could fail while it is sent must not let the commit behind it go alone.
    await expect(end(renamed('four'), sql`select ${{ toJSON: () => 0 }}`)).rejects.toThrow(/found an object/);
    expect((await inTenant(api, database.tenant('nasa'), (tx) => tx.query(readName))).rows).toEqual([{ name: 'one' }]);
    expect(api.stats()).toEqual({ total: 1, idle: 1, waiting: 0 });
  });

  test('sent at once commits with its answers; refused, forged or not to be planned, it leaves nothing and lends the connection again', async () => {
    const api = open();
    const renamed = (name: string) => sql`update flux.agencies set name = ${name} returning name`;
    const atOnce = (context: string, ...statements: readonly Sql[]) =>
      inTenantAtOnce(api, context, () =>
        Promise.resolve({ statements, values: (answers) => answers.flatMap(({ rows }) => rows) }),
      );
    const nasa = database.tenant('nasa');
    expect(await atOnce(nasa, renamed('at once'), readName)).toEqual({
      committed: [{ name: 'at once' }, { name: 'at once' }],
    });
    await expect(atOnce(nasa, renamed('two'), sql`select 1 / 0`, renamed('three'))).rejects.toMatchObject({
      code: '22012',
    });
    await expect(atOnce(nasa.replace('nasa', 'noaa'), renamed('four'))).rejects.toMatchObject({ code: '42501' });
    // An opening that fails must not leave the statements behind it as transactions of their own.
    await expect(atOnce('broken\0', renamed('five'))).rejects.toMatchObject({ code: '22021' });
    await expect(atOnce(nasa, renamed('six'), sql`select ${{ toJSON: () => 0 }}`)).rejects.toThrow(/found an object/);
    await expect(inTenantAtOnce(api, nasa, () => Promise.reject(new Error('no plan')))).rejects.toThrow('no plan');
    expect((await inTenant(api, nasa, (tx) => tx.query(readName))).rows).toEqual([{ name: 'at once' }]);
    expect(api.stats()).toMatchObject({ total: 1, idle: 1, waiting: 0 });
  });

  test('says whether it was rolled back when the connection is lost in front of the answers', async () => {
    const api = open();
    const [client, pid] = await api.withConnection(async (connection) => {
      const { rows } = await connection.query<{ pid: number }>(sql`select pg_backend_pid() as pid`);
      return [connection.client, rows[0]?.pid] as const;
    });
    const ended = inTenantToEnd(api, database.tenant('nasa'), () =>
      Promise.resolve({ statements: [sql`select pg_sleep(600)`], values: () => [] }),
    ).catch((thrown: unknown) => ({ thrown }));
    await expect.poll(() => isAsleep(pid), { timeout: 60_000 }).toBe(true);
    (client as unknown as { connection: { stream: Duplex } }).connection.stream.destroy();
    // Where the commit is sent behind the statement's answer it was not sent; where it travels along, who knows.
    expect(Object.keys((await ended) ?? {})).toEqual([pipeline ? 'unknown' : 'thrown']);
    await database.admin().query(sql`select pg_terminate_backend(${pid})`);
  });

  test('is refused with a forged seal, and the next tenant is not', async () => {
    const api = open();
    const forged = database.tenant('nasa').replace('nasa', 'noaa');
    await expect(inTenant(api, forged, (tx) => tx.query(readName))).rejects.toMatchObject({ code: '42501' });
    expect((await inTenant(api, database.tenant('nasa'), (tx) => tx.query(readName))).rows).toHaveLength(1);
  });
});

test('a pipelined transaction waits for its work before it ends, also when its opening failed', async () => {
  const api = (pool = createPool({ url: database.apiUrl, max: 1, applicationName: 'tenant', pipeline: true }));
  let finished = false;
  // A NUL cannot travel as text, so the opening fails while the work is still under way.
  const work = inTenant(api, 'broken\0', async (tx) => {
    await tx.query(sql`select 1`).catch(() => undefined);
    await tx.query(sql`select 2`).catch(() => undefined);
    finished = true;
  });
  await expect(work).rejects.toMatchObject({ code: '22021' });
  expect(finished).toBe(true);
  expect((await inTenant(api, database.tenant('nasa'), (tx) => tx.query(readName))).rows).toHaveLength(1);
});
