import { beforeAll, describe, expect, test } from 'vitest';

import { type Connection } from '../../src/db/pool.ts';
import { ident, literal, type Sql, sql } from '../../src/db/sql.ts';
import { catalogueViolations, crossingPolicies, type RuleGroup } from '../support/catalogue.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();

beforeAll(async () => {
  await database.addAgency('nasa');
  await database.addAgency('national-archives');
});

/** What the catalogue test says after a change, which is then undone. */
async function violationsAfter(
  change: (tx: Connection) => Promise<unknown>,
  groups?: readonly RuleGroup[],
): Promise<string[]> {
  return database.admin().withConnection(async (connection) => {
    await connection.query(sql`begin`);
    try {
      await change(connection);
      return await catalogueViolations(connection, database.roles, groups);
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
        const violations = await violationsAfter(
          (tx) => tx.query(sql`alter table ${ident('flux', table)} ${flag}`),
          ['tables'],
        );
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
        const violations = await violationsAfter(
          (tx) => tx.query(sql`alter policy ${ident(name)} on ${ident('flux', table)} ${clause}`),
          ['policies'],
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

  test('for each policy that turns from a condition for all into one more way in', async () => {
    const { rows } = await database.admin().query<{
      table: string;
      name: string;
      qual: string;
      check: string;
      to: string;
    }>(sql`
      select tablename::text as "table", policyname::text as name, qual, with_check as "check",
        array_to_string(roles, ', ') as to
      from pg_policies where schemaname = 'flux' and permissive = 'RESTRICTIVE'
    `);
    expect(rows.length).toBeGreaterThan(8);
    for (const { table, name, qual, check, to } of rows) {
      const violations = await violationsAfter(async (tx) => {
        await tx.query(sql`drop policy ${ident(name)} on ${ident('flux', table)}`);
        // The catalogue's own words, which no value goes into.
        await tx.client.query(
          `create policy "${name}" on flux."${table}" as permissive to ${to} using (${qual}) with check (${check})`,
        );
      });
      expect(violations, `${table}.${name}`).not.toEqual([]);
    }
  });

  test('for each function whose search path, owner, rights or callers change', async () => {
    const { rows } = await database.admin().query<{
      name: string;
      signature: string;
      definer: boolean;
      parsed: boolean;
    }>(sql`
      select proname::text as name, oid::regprocedure::text as signature, prosecdef as definer, prosqlbody is not null as parsed
      from pg_proc where pronamespace = 'flux'::regnamespace order by 1
    `);
    expect(rows.length).toBeGreaterThan(25);
    const everybodys = ['uuid_v7', 'current_agency', 'current_clearance'];
    for (const { name, signature, definer, parsed } of rows) {
      const mutations = [
        ...(parsed
          ? []
          : [
              `alter function ${signature} reset search_path`,
              `alter function ${signature} set search_path = flux, pg_catalog`,
            ]),
        `alter function ${signature} leakproof`,
        `alter function ${signature} security ${definer ? 'invoker' : 'definer'}`,
        ...(definer ? [`alter function ${signature} owner to "${database.roles.owner}"`] : []),
        ...(everybodys.includes(name) ? [] : [`grant execute on function ${signature} to public`]),
      ];
      for (const mutation of mutations) {
        const violations = await violationsAfter((tx) => tx.client.query(mutation), ['code']);
        expect(violations, mutation).not.toEqual([]);
      }
    }
  });

  test('for each table that everybody may read, that a role may truncate, or that another role owns', async () => {
    const { rows } = await database.admin().query<{ name: string }>(sql`
      select relname::text as name from pg_class where relnamespace = 'flux'::regnamespace and relkind in ('r', 'p')
    `);
    expect(rows.length).toBeGreaterThan(20);
    const { api, worker, sealer } = database.roles;
    for (const { name } of rows) {
      const table = ident('flux', name);
      for (const mutation of [
        sql`grant select on ${table} to public`,
        sql`grant truncate on ${table} to ${ident(worker)}`,
        sql`grant delete, truncate on ${table} to ${ident(sealer)}`,
        sql`grant trigger on ${table} to ${ident(api)}`,
        sql`grant references on ${table} to ${ident(api)}`,
        sql`grant update on ${table} to ${ident(api)} with grant option`,
        sql`alter table ${table} owner to ${ident(api)}`,
      ]) {
        expect(await violationsAfter((tx) => tx.query(mutation), ['tables', 'roles']), name).not.toEqual([]);
      }
    }
  });

  test('for each role that gets a power, a login or a membership', async () => {
    const { owner, definer, api, worker, sealer } = database.roles;
    const logins = [api, worker, sealer, ...['nasa', 'national-archives'].flatMap(bothLogins)];
    for (const role of [owner, definer, ...logins]) {
      const powers = [sql`superuser`, sql`bypassrls`, sql`createrole`, sql`createdb`, sql`replication`];
      for (const power of [...powers, ...(logins.includes(role) ? [] : [sql`login`])]) {
        const violations = await violationsAfter(
          (tx) => tx.query(sql`alter role ${ident(role)} with ${power}`),
          ['roles'],
        );
        expect(violations.length, role).toBeGreaterThan(0);
      }
      for (const group of [owner, api, 'pg_read_all_data'].filter((one) => one !== role)) {
        const violations = await violationsAfter(
          (tx) => tx.query(sql`grant ${ident(group)} to ${ident(role)}`),
          ['roles'],
        );
        expect(
          violations.some((one) => one.includes('is a member')),
          `${group} to ${role}`,
        ).toBe(true);
      }
    }
  });

  test('for each unique index that a tenant’s table gets without the agency in front', async () => {
    const { rows } = await database.admin().query<{ table: string; column: string }>(sql`
      select c.relname::text as "table", a.attname::text as "column"
      from pg_class c
      join pg_attribute tenant on tenant.attrelid = c.oid and tenant.attname = 'agency_id'
      join lateral (
        select attname from pg_attribute
        where attrelid = c.oid and attnum > 0 and attname <> 'agency_id' and not attisdropped order by attnum limit 1
      ) a on true
      where c.relnamespace = 'flux'::regnamespace and c.relkind in ('r', 'p')
    `);
    expect(rows.length).toBeGreaterThan(15);
    for (const { table, column } of rows) {
      const index = sql`create unique index probe on ${ident('flux', table)} (${ident(column)}, agency_id)`;
      const violations = await violationsAfter((tx) => tx.query(index), ['keys']);
      expect(violations).toContainEqual(expect.stringMatching(new RegExp(`^${table}: unique index flux.probe`)));
    }
  });

  test('for a view that loses security_invoker', async () => {
    const make = sql`create view flux.own_runs with (security_invoker = true) as select * from flux.runs`;
    const owned = (tx: Connection) => tx.query(sql`alter view flux.own_runs owner to ${ident(database.roles.owner)}`);
    expect(
      await violationsAfter(async (tx) => {
        await tx.query(make);
        await owned(tx);
      }),
    ).toEqual([]);
    const violations = await violationsAfter(async (tx) => {
      await tx.query(make);
      await owned(tx);
      await tx.query(sql`alter view flux.own_runs set (security_invoker = false)`);
    });
    expect(violations).toContainEqual(expect.stringMatching(/^own_runs: a view must be security_invoker/));
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
      'a grant on what hangs from a run to a role that the policy on clearance does not bind',
      ({ sealer }) => sql`grant select on flux.run_events to ${ident(sealer)}`,
      /^run_events: .*_sealer reads what hangs from a run without/,
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

function bothLogins(agency: string): string[] {
  return [database.agencyRole(agency), database.agencyRole(agency, 'ro')];
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
