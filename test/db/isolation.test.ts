import { beforeAll, describe, expect, test } from 'vitest';

import { lakeSchema } from '../../src/db/roles.ts';
import { ident, literal, type Sql, sql } from '../../src/db/sql.ts';
import { inTenant, inTransaction } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';
import { insertRun, type RunFixture } from '../support/fixtures.ts';

const database = useDatabase();
let own: RunFixture;
let theirs: RunFixture;

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('noaa');
  own = await insertRun(database, 'nasa');
  theirs = await insertRun(database, 'noaa');
  await insertRun(database, 'nasa', { pipeline: 'classified', classification: 3 });
  const noaa = database.agencyPool('noaa');
  await noaa.query(sql`create table ${ident(lakeSchema('noaa'), 'secrets')} (n int)`);
});

const asNasa = <T extends object>(query: Sql, options?: { clearance?: number }): Promise<T[]> =>
  inTenant(database.apiPool(), database.tenant('nasa', options), async (tx) => (await tx.query<T>(query)).rows);

const tenantTables = [
  'agencies',
  'connections',
  'contracts',
  'pipelines',
  'runs',
  'run_partitions',
  'run_events',
  'step_counts',
  'source_objects',
  'rejected_records',
  'datasets',
  'loads',
  'idempotency_keys',
  'audit_entries',
  'audit_heads',
  'audit_tiles',
  'audit_checkpoints',
  'checkpoints',
  'live_subscriptions',
  'revocations',
  'issuers',
];

/** What hangs from a run; the catalogue test holds every further table with a run_id to the same policy. */
const hanging = [
  'run_partitions',
  'run_events',
  'checkpoints',
  'rejected_records',
  'step_counts',
  'source_objects',
  'loads',
];

/** One row of a run in every table that hangs from it. */
async function fillRun(runId: string): Promise<void> {
  const admin = database.admin();
  for (const statement of [
    sql`insert into flux.run_events (agency_id, run_id, seq, name, attempt, message)
      values ('nasa', ${runId}, 1, 'RunQueued', 1, 'x')`,
    sql`insert into flux.checkpoints (agency_id, run_id, partition_no, version, epoch, status, step, body, hash)
      values ('nasa', ${runId}, 0, 1, 1, 'IN_PROGRESS', 's', '\\x00', ${Buffer.alloc(32)})`,
    sql`insert into flux.rejected_records (agency_id, run_id, record_no, partition_no, reasons)
      values ('nasa', ${runId}, 1, 0, '[]')`,
    sql`insert into flux.step_counts (agency_id, run_id, partition_no, position, stage, step, kind)
      values ('nasa', ${runId}, 0, 0, 'INGEST', 'read', 'read')`,
    sql`insert into flux.source_objects
        (agency_id, run_id, sha256, byte_count, address, connection_name, origin, media_type)
      values ('nasa', ${runId}, ${Buffer.alloc(32)}, 1, 'a', 'files', 'o', 'text/csv')`,
    sql`insert into flux.datasets (agency_id, name, columns) values ('nasa', 'secret', '[]')`,
    sql`insert into flux.loads (agency_id, dataset, load_no, run_id, mode, columns)
      values ('nasa', 'secret', 1, ${runId}, 'append', '[]')`,
  ]) {
    await admin.query(statement);
  }
}

describe('the API’s login', () => {
  test.each(tenantTables)('sees nothing of flux.%s without a context, and says so', async (table) => {
    await expect(database.apiPool().query(sql`select from ${ident('flux', table)}`)).rejects.toMatchObject({
      code: '42501',
      message: 'no tenant context',
    });
  });

  test.each(tenantTables)('sees of flux.%s only the tenant’s own rows', async (table) => {
    const rows = await asNasa<{ agency_id: string }>(
      sql`select distinct agency_id from ${ident('flux', table)} where agency_id <> 'nasa' or agency_id = 'noaa'`,
    );
    expect(rows).toEqual([]);
  });

  test('is refused with a context that is empty, cut, forged, expired or of another key', async () => {
    const good = database.tenant('nasa');
    const parts = good.split('|');
    const contexts = [
      '',
      'nasa',
      parts.slice(0, 5).join('|'),
      `${good}|`,
      ['noaa', ...parts.slice(1)].join('|'),
      [parts[0], 'admin', ...parts.slice(2)].join('|'),
      [...parts.slice(0, 2), '5', ...parts.slice(3)].join('|'),
      [...parts.slice(0, 3), String(Number(parts[3]) + 1000), ...parts.slice(4)].join('|'),
      [...parts.slice(0, 4), 'ffffffff', parts[5]].join('|'),
      database.tenant('nasa', { expiresAt: Math.floor(Date.now() / 1000) - 1 }),
    ];
    for (const context of contexts) {
      const attempt = inTenant(database.apiPool(), context, (tx) => tx.query(sql`select from flux.runs`));
      await expect(attempt, context).rejects.toMatchObject({ code: '42501' });
    }
  });

  test('loses its context with the transaction, however that ends', async () => {
    await database.apiPool().withConnection(async (connection) => {
      const setContext = sql`select set_config('flux.context', ${database.tenant('nasa')}, true)`;
      await inTransaction(connection, (tx) => tx.query(setContext));
      await expect(connection.query(sql`select from flux.runs`)).rejects.toMatchObject({ code: '42501' });
      const failing = inTransaction(connection, async (tx) => {
        await tx.query(setContext);
        await tx.query(sql`select 1 / 0`);
      });
      await expect(failing).rejects.toMatchObject({ code: '22012' });
      await expect(connection.query(sql`select from flux.runs`)).rejects.toMatchObject({ code: '42501' });
    });
  });

  test('sees a classification only with the clearance for it', async () => {
    const count = async (clearance: number): Promise<bigint | undefined> =>
      (await asNasa<{ count: bigint }>(sql`select count(*) as count from flux.runs`, { clearance }))[0]?.count;
    expect(await count(0)).toBe(1n);
    expect(await count(2)).toBe(1n);
    expect(await count(3)).toBe(2n);
  });

  test('sees nothing that hangs from a run above its clearance, and cannot hang anything on it', async () => {
    const { rows } = await database
      .admin()
      .query<{ runId: string }>(
        sql`select run_id as "runId" from flux.runs where agency_id = 'nasa' and classification = 3`,
      );
    const secret = rows[0]?.runId as string;
    await fillRun(secret);
    const seen = async (clearance: number): Promise<Record<string, bigint>> =>
      Object.fromEntries(
        await Promise.all(
          hanging.map(async (table) => {
            const found = await asNasa<{ count: bigint }>(
              sql`select count(*) as count from ${ident('flux', table)} where run_id = ${secret}`,
              { clearance },
            );
            return [table, found[0]?.count ?? 0n] as const;
          }),
        ),
      );
    expect(await seen(2)).toEqual(Object.fromEntries(hanging.map((table) => [table, 0n])));
    expect(Object.values(await seen(3)).every((count) => count > 0n)).toBe(true);
    const attach = asNasa(sql`
      insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage)
      values ('nasa', ${secret}, 7, 'BATCHES', 'FULL')
    `);
    await expect(attach).rejects.toMatchObject({ code: '42501' });
  });

  test.each<[what: string, query: () => Sql]>([
    ['become the owner', () => sql`set role ${ident(database.roles.owner)}`],
    ['become the definer', () => sql`set role ${ident(database.roles.definer)}`],
    ['become an agency’s login', () => sql`set role ${ident(database.agencyRole('noaa'))}`],
    ['become another session', () => sql`set session authorization ${ident(database.roles.worker)}`],
    ['read the seal’s keys', () => sql`select from flux.context_keys`],
    ['read who logs in as whom', () => sql`select from flux.agency_logins`],
    ['see the parts of a context', () => sql`select flux.verified_context()`],
    [
      'switch off row-level security',
      () => sql`select set_config('row_security', 'off', true), (select count(*) from flux.runs)`,
    ],
    ['truncate', () => sql`truncate flux.runs`],
    ['delete a run', () => sql`delete from flux.runs`],
    ['change an event', () => sql`update flux.run_events set message = ''`],
    ['delete an audit entry', () => sql`delete from flux.audit_entries`],
    ['change an audit entry', () => sql`update flux.audit_entries set success = true`],
    ['move a run to another agency', () => sql`update flux.runs set agency_id = 'noaa'`],
    ['make a table in flux', () => sql`create table flux.mine (n int)`],
    ['make a function in public', () => sql`create function public.mine() returns int language sql as 'select 1'`],
    ['make a temporary table', () => sql`create temporary table runs (n int)`],
    ['read a lake', () => sql`select from ${ident(lakeSchema('noaa'), 'secrets')}`],
    ['read a file', () => sql`select pg_read_file('/etc/passwd')`],
    ['run a program', () => sql`copy (select 1) to program 'true'`],
    ['grant agencies more', () => sql`select flux.grant_agency_login('postgres', 'postgres')`],
    [
      'insert a run for another agency',
      () => sql`
        insert into flux.runs (agency_id, pipeline_name, pipeline_version, stage, content_type, use_case, classification,
          requested_by, payload)
        values ('noaa', 'sample', 1, 'FULL', 'text', 'research', 0, 'mallory', '{}')
      `,
    ],
  ])('may not %s', async (_what, query) => {
    await expect(asNasa(query())).rejects.toMatchObject({
      code: expect.stringMatching(/^(42501|42704|22023)$/) as string,
    });
  });

  test('cannot hang its own rows on another agency’s run, nor learn whether that run exists', async () => {
    const attach = (runId: string): Promise<unknown> =>
      asNasa(sql`
        insert into flux.run_partitions (agency_id, run_id, partition_no, kind, stage)
        values ('nasa', ${runId}, 7, 'BATCHES', 'FULL')
      `).catch((error: unknown) => ({ code: (error as { code: string }).code }));
    const refused = await attach('00000000-0000-7000-8000-000000000000');
    expect(refused).toEqual({ code: '42501' });
    expect(await attach(theirs.runId)).toEqual(refused);
    // The same id in its own agency is free: a unique key answers for one tenant only.
    const taken = await asNasa<{ n: number }>(sql`
      insert into flux.idempotency_keys (agency_id, key, operation, request_sha256, result)
      values ('nasa', 'k', 'startRun', ${Buffer.alloc(32)}, '{}')
      on conflict do nothing
      returning 1 as n
    `);
    expect(taken).toEqual([{ n: 1 }]);
  });

  test('cannot lock, update or find another agency’s run by its id', async () => {
    expect(await asNasa(sql`select from flux.runs where run_id = ${theirs.runId} for update`)).toEqual([]);
    expect(
      await asNasa(sql`update flux.runs set version = version + 1 where run_id = ${theirs.runId} returning run_id`),
    ).toEqual([]);
  });

  test('gains nothing by a cursor that outlives its transaction', async () => {
    await database.apiPool().withConnection(async (connection) => {
      await inTransaction(connection, async (tx) => {
        await tx.query(sql`select set_config('flux.context', ${database.tenant('nasa')}, true)`);
        await tx.query(sql`declare held cursor with hold for select agency_id from flux.runs`);
      });
      const { rows } = await connection.query(sql`fetch all from held`);
      expect(rows.every((row) => row['agency_id'] === 'nasa')).toBe(true);
      await connection.query(sql`close held`);
    });
  });
});

describe('an agency’s login', () => {
  test('is its agency whatever context is set, and stays it', async () => {
    const { rows } = await inTenant(database.agencyPool('nasa'), database.tenant('noaa'), (tx) =>
      tx.query(
        sql`select flux.current_agency() as agency, (select count(*) from flux.runs where agency_id = 'noaa') as seen`,
      ),
    );
    expect(rows).toEqual([{ agency: 'nasa', seen: 0n }]);
  });

  test.each<[what: string, query: () => Sql]>([
    ['become another agency', () => sql`set role ${ident(database.agencyRole('noaa'))}`],
    ['read another lake', () => sql`select from ${ident(lakeSchema('noaa'), 'secrets')}`],
    ['make a table in another lake', () => sql`create table ${ident(lakeSchema('noaa'), 'mine')} (n int)`],
    ['claim partitions', () => sql`select flux.claim_partition('w', 1000)`],
    ['read its audit log', () => sql`select from flux.audit_entries`],
    ['change its agency', () => sql`update flux.agencies set name = 'x'`],
    ['delete a run', () => sql`delete from flux.runs`],
  ])('may not %s', async (_what, query) => {
    await expect(database.agencyPool('nasa').query(query())).rejects.toMatchObject({ code: '42501' });
  });

  test('of the reading kind reads its lake and nothing else', async () => {
    const reader = database.agencyPool('noaa', 'ro');
    expect((await reader.query(sql`select from ${ident(lakeSchema('noaa'), 'secrets')}`)).rows).toEqual([]);
    await expect(reader.query(sql`select from flux.runs`)).rejects.toMatchObject({ code: '42501' });
    await expect(
      reader.query(sql`insert into ${ident(lakeSchema('noaa'), 'secrets')} values (1)`),
    ).rejects.toMatchObject({ code: '42501' });
  });
});

describe('the append-only tables', () => {
  test('refuse update, delete and truncate even to a superuser', async () => {
    const admin = database.admin();
    for (const statement of [
      sql`update flux.audit_entries set success = false`,
      sql`truncate flux.audit_entries`,
      sql`update flux.run_events set message = ''`,
    ]) {
      await expect(admin.query(statement)).rejects.toMatchObject({ code: '42501' });
    }
  });
});

describe('row-level security', () => {
  test('asks for the tenant once per statement and finds its rows by index', async () => {
    const admin = database.admin();
    await admin.query(sql`
      insert into flux.run_events (agency_id, run_id, seq, name, attempt, message)
      select agency_id, run_id, n, 'BatchCommitted', 1, 'x'
      from generate_series(1, 20000) n,
        (values ('nasa', ${own.runId}::uuid), ('noaa', ${theirs.runId}::uuid)) as of (agency_id, run_id)
    `);
    await admin.query(sql`analyze flux.run_events`);
    const plans = await asNasa<{ 'QUERY PLAN': unknown }>(sql`
      explain (format json)
      select seq from flux.run_events where run_id = ${literal(own.runId)} and seq > 19000 order by seq limit 20
    `);
    const plan = JSON.stringify(plans);
    expect(plan).toContain('InitPlan');
    expect(plan).toMatch(/"Index Cond":"[^"]*agency_id = /);
    expect(plan).not.toContain('Seq Scan');
  });
});
