import { beforeAll, describe, expect, test } from 'vitest';

import { type Connection } from '../../src/db/pool.ts';
import { ident, literal, type Sql, sql } from '../../src/db/sql.ts';
import { catalogueViolations, crossingPolicies } from '../support/catalogue.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('national-archives');
});

/** What the catalogue test says after a change, which is then undone. */
async function violationsAfter(change: (tx: Connection) => Promise<unknown>): Promise<string[]> {
  return database.admin().withConnection(async (connection) => {
    await connection.query(sql`begin`);
    try {
      await change(connection);
      return await catalogueViolations(connection, database.roles);
    } finally {
      await connection.query(sql`rollback`);
    }
  });
}

test('every table, policy, key, function and role keeps the rules of isolation', async () => {
  expect(await catalogueViolations(database.admin(), database.roles)).toEqual([]);
});

describe('the catalogue test goes red', () => {
  test('for each table whose row-level security is disabled or not forced', async () => {
    for (const table of await tenantTables()) {
      for (const [flag, told] of [
        [sql`disable row level security`, 'not enabled'],
        [sql`no force row level security`, 'not forced'],
      ] as const) {
        const violations = await violationsAfter((tx) => tx.query(sql`alter table ${ident('flux', table)} ${flag}`));
        expect(violations, table).toContainEqual(expect.stringMatching(new RegExp(`^${table}: .*${told}`)));
      }
    }
  });

  test('for each policy that is dropped', async () => {
    const policies = await policiesOf();
    expect(policies.length).toBeGreaterThan(15);
    for (const { table, name } of policies) {
      const violations = await violationsAfter((tx) =>
        tx.query(sql`drop policy ${ident(name)} on ${ident('flux', table)}`),
      );
      expect(violations, `${table}.${name}`).not.toEqual([]);
    }
  });

  test('for each policy that admits every row, or every write', async () => {
    for (const { table, name } of await policiesOf()) {
      if (`${table}.${name}` in crossingPolicies) continue;
      for (const clause of [sql`using (true)`, sql`with check (true)`]) {
        const violations = await violationsAfter((tx) =>
          tx.query(sql`alter policy ${ident(name)} on ${ident('flux', table)} ${clause}`),
        );
        expect(violations, `${table}.${name}`).not.toEqual([]);
      }
    }
  });

  test('for each policy of the definer or the owner that is opened to others', async () => {
    for (const { table, name } of await policiesOf()) {
      if (!(`${table}.${name}` in crossingPolicies)) continue;
      const violations = await violationsAfter((tx) =>
        tx.query(sql`alter policy ${ident(name)} on ${ident('flux', table)} to public`),
      );
      expect(violations).toContain(`${table}: policy ${name} admits rows beyond the tenant`);
    }
  });

  test('for each tenant key that loses its agency', async () => {
    for (const table of await tenantTables()) {
      const violations = await violationsAfter((tx) =>
        tx.query(sql`alter table ${ident('flux', table)} drop constraint ${ident(`${table}_pkey`)} cascade`),
      );
      expect(violations).toContain(`${table}: has no primary key`);
    }
  });

  const changes: [why: string, change: (names: Names) => Sql, told: RegExp][] = [
    [
      'a table without a tenant',
      () => sql`create table flux.notes (note_id int primary key)`,
      /^notes: has no agency_id and is not on the list/,
    ],
    [
      'a tenant table without policies',
      () => sql`create table flux.notes (agency_id text collate "C" primary key)`,
      /^notes: row-level security is not enabled/,
    ],
    [
      'a unique index that begins with something else',
      () => sql`create unique index probe on flux.runs (run_id)`,
      /^runs: unique index flux.probe does not begin/,
    ],
    [
      'a foreign key that passes the tenant by',
      () => sql`
        alter table flux.runs add constraint probe foreign key (pipeline_name) references flux.agencies (agency_id)
      `,
      /^runs: foreign key probe/,
    ],
    [
      'a nullable agency',
      () => sql`
        alter table flux.checkpoints drop constraint checkpoints_pkey, alter agency_id drop not null
      `,
      /^checkpoints: agency_id may be null/,
    ],
    [
      'an agency in the server’s collation',
      () => sql`create table flux.notes (agency_id text primary key)`,
      /^notes: agency_id is not text collate "C"/,
    ],
    [
      'a policy that asks once per row',
      () => sql`alter policy own_agency on flux.loads using (agency_id = flux.current_agency())`,
      /^loads: policy own_agency calls a function once per row/,
    ],
    [
      'a view with its owner’s rights',
      () => sql`create view flux.all_runs as select * from flux.runs`,
      /^all_runs: a view/,
    ],
    [
      'a materialised view',
      () => sql`create materialized view flux.all_runs as select 1 as one`,
      /^all_runs: a view must be security_invoker/,
    ],
    [
      'a privilege for everybody',
      () => sql`grant select on flux.runs to public`,
      /^runs: PUBLIC has the privilege SELECT/,
    ],
    [
      'a privilege that passes policies',
      ({ api }) => sql`grant truncate on flux.runs to ${ident(api)}`,
      /^runs: .*_api has the privilege TRUNCATE/,
    ],
    [
      'a grant without a policy',
      ({ sealer }) => sql`grant select on flux.agency_logins to ${ident(sealer)}`,
      /^agency_logins: .*_sealer may SELECT and no policy/,
    ],
    [
      'another SECURITY DEFINER function',
      () => sql`
        create function flux.peek() returns bigint language sql security definer
        set search_path = pg_catalog, pg_temp as 'select count(*) from flux.runs'
      `,
      /^peek\(\): SECURITY DEFINER and not on the list/,
    ],
    [
      'a function whose search_path is the caller’s',
      () => sql`alter function flux.current_agency() reset search_path`,
      /^current_agency\(\): its search_path/,
    ],
    [
      'a definer function of another owner',
      ({ owner }) => sql`alter function flux.queue_depth() owner to ${ident(owner)}`,
      /^queue_depth\(\): should be SECURITY DEFINER and owned by/,
    ],
    [
      'a LEAKPROOF function',
      () => sql`alter function flux.checkpoint_intact(flux.checkpoints) leakproof`,
      /checkpoint_intact\(\): LEAKPROOF/,
    ],
    [
      'a queue function that the API may call',
      ({ api }) => sql`grant execute on function flux.queue_depth() to ${ident(api)}`,
      /^queue_depth\(\): .*_api may call it/,
    ],
    [
      'a queue function that everybody may call',
      () => sql`grant execute on function flux.claim_partition(text, int, int) to public`,
      /^claim_partition\(\): PUBLIC may call it/,
    ],
    ['a login that bypasses policies', ({ rw }) => sql`alter role ${ident(rw)} bypassrls`, /_nasa_rw: has a power/],
    ['a login that is a superuser', ({ rw }) => sql`alter role ${ident(rw)} superuser`, /_nasa_rw: has a power/],
    ['a login that makes roles', ({ rw }) => sql`alter role ${ident(rw)} createrole`, /_nasa_rw: has a power/],
    [
      'a login that is a member of another',
      ({ rw, other }) => sql`grant ${ident(other)} to ${ident(rw)}`,
      /_nasa_rw: is a member/,
    ],
    ['a table of another owner', ({ rw }) => sql`alter table flux.loads owner to ${ident(rw)}`, /^loads: is owned by/],
    [
      'a schema anyone may create in',
      () => sql`grant create on schema flux to public`,
      /^schema flux: PUBLIC may create/,
    ],
    [
      'a lake that another agency may use',
      ({ other }) => sql`grant usage on schema lake_nasa to ${ident(other)}`,
      /^schema lake_nasa: .*_national_archives_rw may use it/,
    ],
    [
      'a classification without the policy on clearance',
      () => sql`alter table flux.datasets add column classification smallint`,
      /^datasets: a classification without/,
    ],
  ];

  test.each(changes)('for %s', async (_why, change, told) => {
    const names: Names = {
      ...database.roles,
      rw: database.agencyRole('nasa'),
      other: database.agencyRole('national-archives'),
    };
    const violations = await violationsAfter((tx) => tx.query(change(names)));
    expect(violations).toContainEqual(expect.stringMatching(told));
  });
});

interface Names {
  owner: string;
  api: string;
  sealer: string;
  rw: string;
  other: string;
}

async function tenantTables(): Promise<string[]> {
  const { rows } = await database.admin().query<{ name: string }>(sql`
    select c.relname::text as name
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'agency_id'
    where c.relnamespace = ${literal('flux')}::regnamespace and c.relkind in ('r', 'p')
    order by 1
  `);
  expect(rows.length).toBeGreaterThan(10);
  return rows.map(({ name }) => name);
}

async function policiesOf(): Promise<{ table: string; name: string }[]> {
  const { rows } = await database.admin().query<{ table: string; name: string }>(sql`
    select tablename::text as table, policyname::text as name from pg_policies where schemaname = 'flux' order by 1, 2
  `);
  return rows;
}
