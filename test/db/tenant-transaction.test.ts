import { afterEach, beforeAll, describe, expect, test } from 'vitest';

import { createPool, type Pool } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
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
