import { to as copyTo } from 'pg-copy-streams';
import { beforeAll, describe, expect, test, vi } from 'vitest';

import { connect, type Connection } from '../../src/db/pool.ts';
import { lakeSchema } from '../../src/db/roles.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { apiDeps } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { type Filled, fillAgency } from '../support/two-agencies.ts';

/**
 * The attacks of the platform's security reference, as SQL that somebody got one of our logins to run. Each must end in an error or
 * show nothing of another agency: every text that an agency has is marked, and the marks are looked for in everything that comes back.
 */
const database = useDatabase();
let alpha: Filled;
let omega: Filled;
let tables: string[];
let functions: string[];

beforeAll(async () => {
  const api = apiDeps(database);
  alpha = await fillAgency(database, 'alpha-sql', api);
  omega = await fillAgency(database, 'omega-sql', api);
  for (const { slug, canary } of [alpha, omega]) {
    const lake = ident(lakeSchema(slug), 'readings');
    await database.agencyPool(slug).query(sql`create table ${lake} (note text)`);
    await database.agencyPool(slug).query(sql`insert into ${lake} values (${canary})`);
  }
  const admin = database.admin();
  const { rows } = await admin.query<{ name: string }>(sql`
    select relname::text as name from pg_class where relnamespace = 'flux'::regnamespace and relkind in ('r', 'p') order by 1
  `);
  tables = rows.map(({ name }) => name);
  const { rows: found } = await admin.query<{ signature: string }>(sql`
    select oid::regprocedure::text as signature from pg_proc where pronamespace = 'flux'::regnamespace order by 1
  `);
  functions = found.map(({ signature }) => signature);
}, 120_000);

interface Attacker {
  role: string;
  /** Whose things it may see; null for the roles that belong to no agency. */
  of: Filled | null;
  /** What it sets as its context, as an injected statement would find it. */
  context: string | null;
}

const attackers = [
  'api',
  'api without a context',
  'worker',
  'sealer',
  'alpha rw',
  'alpha ro',
  'omega rw',
  'omega ro',
] as const;

function attackerOf(name: (typeof attackers)[number]): Attacker {
  const { api, worker, sealer } = database.roles;
  switch (name) {
    case 'api':
      return { role: api, of: alpha, context: database.tenant(alpha.slug, { role: 'admin', clearance: 5 }) };
    case 'api without a context':
      return { role: api, of: null, context: null };
    case 'worker':
      return { role: worker, of: null, context: database.tenant(alpha.slug) };
    case 'sealer':
      return { role: sealer, of: null, context: database.tenant(alpha.slug) };
    default: {
      const [agency, access] = name.split(' ') as ['alpha' | 'omega', 'rw' | 'ro'];
      const of = agency === 'alpha' ? alpha : omega;
      // The context of the other, which an agency's login must not heed.
      const context = database.tenant((agency === 'alpha' ? omega : alpha).slug, { role: 'admin', clearance: 5 });
      return { role: database.agencyRole(of.slug, access), of, context };
    }
  }
}

interface Outcome {
  error: string | null;
  rows: unknown[];
}

/** Runs statements one after the other on a connection of the attacker's own; goes on after errors. */
async function run(attacker: Attacker, statements: readonly string[]): Promise<Outcome[]> {
  const connection = await connect({ url: database.urlFor(attacker.role), applicationName: 'flux test attacker' });
  try {
    return await runOn(connection, attacker, statements);
  } finally {
    await connection.end();
  }
}

async function runOn(connection: Connection, { context }: Attacker, statements: readonly string[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  await connection.client.query('begin');
  for (const statement of statements) {
    await connection.client.query('savepoint attack');
    try {
      if (context !== null) await connection.client.query(`select set_config('flux.context', $1, true)`, [context]);
      outcomes.push({ error: null, rows: await rowsOf(connection, statement) });
    } catch (cause) {
      outcomes.push({ error: `${String((cause as { code?: string }).code)} ${(cause as Error).message}`, rows: [] });
    }
    // A statement may have ended the transaction; then the next begins anew.
    await connection.client
      .query('rollback to savepoint attack')
      .catch(() => connection.client.query('rollback').then(() => connection.client.query('begin')));
  }
  await connection.client.query('rollback');
  return outcomes;
}

async function rowsOf(connection: Connection, statement: string): Promise<unknown[]> {
  if (/to stdout$/.test(statement)) {
    const chunks: Buffer[] = [];
    for await (const chunk of connection.client.query(copyTo(statement))) chunks.push(chunk as Buffer);
    return [Buffer.concat(chunks).toString('latin1')].filter((text) => text !== '');
  }
  const results = await connection.client.query<Record<string, unknown>>(statement);
  const each: readonly { rows: readonly unknown[] }[] = Array.isArray(results) ? results : [results];
  return each.flatMap(({ rows }) => rows);
}

/** What of others stands in what came back, errors included. */
function foreignIn({ of }: Attacker, outcomes: readonly Outcome[], statements: readonly string[]): string[] {
  return [alpha, omega]
    .filter((filled) => filled !== of)
    .flatMap(({ canary, runs, slug }) =>
      outcomes.flatMap((outcome, n) => {
        const sent = statements[n] ?? '';
        const text = JSON.stringify(outcome, (_key, value: unknown) =>
          typeof value === 'bigint' ? String(value) : Buffer.isBuffer(value) ? value.toString('latin1') : value,
        );
        return [canary, ...runs, slug]
          .filter((secret) => !sent.includes(secret) && text.includes(secret))
          .map((secret) => `${secret} by: ${sent}`);
      }),
    );
}

/** For every table: all the ways of reading, locking, changing and moving rows. */
function tableAttacks(table: string, foreign: Filled): string[] {
  const name = `flux."${table}"`;
  const mine = `agency_id = '${foreign.slug}'`;
  return [
    `select t::text from ${name} t`,
    `select t::text from ${name} t where ${mine}`,
    `select count(*) as n from ${name} where ${mine} having count(*) > 0`,
    `select t::text from ${name} t for update`,
    `select t::text from ${name} t for key share`,
    `select t::text from only ${name} t`,
    `table ${name}`,
    `update ${name} set agency_id = '${foreign.slug}' returning *`,
    `update ${name} set agency_id = agency_id where ${mine} returning *`,
    `delete from ${name} where ${mine} returning *`,
    `with gone as (delete from ${name} returning *) select gone::text from gone`,
    `merge into ${name} t using (select 1 as one) s on t.${mine} when matched then delete`,
    `copy ${name} to stdout`,
    `copy (select * from ${name}) to stdout`,
    `copy ${name} from stdin`,
    `truncate ${name}`,
    `lock table ${name} in access exclusive mode`,
    `create table pg_temp.stolen as select * from ${name}`,
    `create view pg_temp.stolen as select * from ${name}`,
    `alter table ${name} disable row level security`,
    `alter table ${name} no force row level security`,
    `create policy all_rows on ${name} using (true)`,
    `explain (analyze, costs off) select * from ${name} where ${mine}`,
    `select most_common_vals::text, histogram_bounds::text from pg_stats where schemaname = 'flux' and tablename = '${table}'`,
  ];
}

const otherRoles = ({ role }: Attacker): string[] => Object.values({ ...database.roles }).filter((one) => one !== role);

const generalAttacks = (attacker: Attacker, foreign: Filled): string[] => [
  // Another role, another session, another context.
  ...otherRoles(attacker).map((role) => `set role "${role}"`),
  ...otherRoles(attacker).map((role) => `set local session authorization "${role}"`),
  `set role "${database.agencyRole(foreign.slug)}"; select t::text from flux.runs t`,
  `set session authorization "${database.agencyRole(foreign.slug)}"`,
  'reset all; select t::text from flux.runs t',
  'set local row_security = off; select t::text from flux.runs t',
  `select set_config('row_security', 'off', true); select t::text from flux.runs t`,
  `select set_config('flux.context', '', true); select t::text from flux.runs t`,
  `select set_config('flux.context', '${foreign.slug}', true); select t::text from flux.runs t`,
  `select set_config('flux.context', '${foreign.slug}|admin|5|9999999999|k|00', true); select t::text from flux.runs t`,
  `select set_config('flux.context', replace(current_setting('flux.context'), 'alpha-sql', '${foreign.slug}'), true); select t::text from flux.runs t`,
  `select set_config('session_authorization', '${database.agencyRole(foreign.slug)}', true)`,
  `select set_config('role', '${database.roles.owner}', true)`,
  // Objects: shadows, functions, files, other databases.
  'create temporary table runs (agency_id text); select flux.current_agency()',
  `create function pg_temp.current_agency() returns text language sql as $$ select '${foreign.slug}' $$; set local search_path = pg_temp, flux; select t::text from flux.runs t`,
  `create function public.evil() returns text language sql security definer as $$ select 'x' $$`,
  `create function flux.evil() returns text language sql security definer as $$ select 'x' $$`,
  `create or replace function flux.current_agency() returns text language sql as $$ select '${foreign.slug}' $$`,
  'alter function flux.current_agency() security invoker',
  'create schema evil',
  'create extension dblink',
  'create extension postgres_fdw',
  `select dblink('host=127.0.0.1', 'select 1')`,
  `select lo_import('/etc/passwd')`,
  `select lo_export(1, '/tmp/x')`,
  `select loid, data from pg_largeobject`,
  `select pg_read_file('/etc/passwd')`,
  `select pg_read_binary_file('pg_hba.conf')`,
  `select pg_ls_dir('.')`,
  `copy (select 1) to program 'true'`,
  `copy (select 1) to '/tmp/x'`,
  'select rolname, rolpassword from pg_authid where rolpassword is not null',
  'select * from pg_shadow',
  'select key_id, inner_pad, outer_pad from flux.context_keys',
  'select role_name::text from flux.agency_logins',
  'select flux.verified_context()',
  `select flux.grant_agency_login('${database.roles.api}', '${database.roles.api}')`,
  'select query from pg_stat_activity where usename <> current_user and query is not null',
  // The other agency's lake.
  `select note from "${lakeSchema(foreign.slug)}".readings`,
  `insert into "${lakeSchema(foreign.slug)}".readings values ('x')`,
  `create table "${lakeSchema(foreign.slug)}".mine (n int)`,
  `drop schema "${lakeSchema(foreign.slug)}" cascade`,
  `grant select on all tables in schema "${lakeSchema(foreign.slug)}" to public`,
  // Writes into the other agency, and its keys as an oracle.
  `insert into flux.idempotency_keys (agency_id, key, operation, request_sha256, result)
     values ('${foreign.slug}', 'k', 'o', sha256('x'), '{}') on conflict do nothing returning *`,
  `insert into flux.connections (agency_id, name, kind, config, created_by)
     values ('${foreign.slug}', '${foreign.slug}-files', 'file', '{}', 'x')
     on conflict (agency_id, name) do update set title = 'x' returning *`,
  `insert into flux.run_events (agency_id, run_id, seq, name, attempt, message)
     values ('${foreign.slug}', '${foreign.runs[0] ?? ''}', 99, 'RunQueued', 1, 'x')`,
];

describe.each(attackers)('as %s', (name) => {
  test('no table shows or gives away a row of another agency', async () => {
    const attacker = attackerOf(name);
    const foreign = attacker.of === omega ? alpha : omega;
    for (const table of tables) {
      const statements = tableAttacks(table, foreign);
      const outcomes = await run(attacker, statements);
      expect(foreignIn(attacker, outcomes, statements)).toEqual([]);
      // Only what reads may succeed; what would change rights, structure or another's rows does not.
      const told = outcomes.map(({ error, rows }, n) => ({ error, rows, statement: statements[n] ?? '' }));
      const done = told.filter(
        ({ error, statement }) => error === null && /^(alter|create policy|truncate)/.test(statement),
      );
      expect(done).toEqual([]);
      const changed = told.filter(({ rows, statement }) => rows.length > 0 && statement.includes(`where agency_id`));
      expect(changed.filter(({ statement }) => !statement.startsWith('explain'))).toEqual([]);
    }
  });

  test('no role, setting, object, file or key leads to another agency', async () => {
    const attacker = attackerOf(name);
    const foreign = attacker.of === omega ? alpha : omega;
    const statements = generalAttacks(attacker, foreign);
    const outcomes = await run(attacker, statements);
    expect(foreignIn(attacker, outcomes, statements)).toEqual([]);
    const mustFail =
      /^(set role|set local session|set session|create (schema|extension|function (public|flux)|or replace)|alter|drop|grant|insert into "|select (lo_|pg_read|pg_ls|dblink|flux[.](verified|grant))|copy|insert into flux)/;
    const succeeded = outcomes.flatMap(({ error }, n) =>
      error === null && mustFail.test(statements[n] ?? '') ? [statements[n]] : [],
    );
    expect(succeeded).toEqual([]);
  });

  test('none of our functions runs for it that is not meant to', async () => {
    const attacker = attackerOf(name);
    const granted = await database.admin().query<{ signature: string }>(sql`
      select oid::regprocedure::text as signature from pg_proc
      where pronamespace = 'flux'::regnamespace and has_function_privilege(${attacker.role}, oid, 'execute')
    `);
    const own = granted.rows.map(({ signature }) => signature);
    const refused = functions.filter((signature) => !own.includes(signature));
    expect(refused.length).toBeGreaterThan(0);
    const calls = refused.map((signature) => {
      const [fn, args = ''] = signature.split('(');
      const nulls = args
        .replace(')', '')
        .split(',')
        .filter(Boolean)
        .map((type) => `null::${type}`);
      return `select ${fn ?? ''}(${nulls.join(', ')})`;
    });
    const outcomes = await run(attacker, calls);
    expect(
      outcomes.flatMap(({ error }, n) =>
        /^(42501|0A000|42809)/.test(error ?? '') ? [] : [`${calls[n] ?? ''}: ${error ?? 'done'}`],
      ),
    ).toEqual([]);
  });
});

describe('one connection after another tenant', () => {
  const asApi = async <T>(use: (client: Connection['client']) => Promise<T>): Promise<T> => {
    const connection = await connect({ url: database.apiUrl, applicationName: 'flux test attacker' });
    try {
      return await use(connection.client);
    } finally {
      await connection.end();
    }
  };
  const context = (of: Filled): [string, string[]] => [
    `select set_config('flux.context', $1, true)`,
    [database.tenant(of.slug, { clearance: 5 })],
  ];
  const agencies = async (client: Connection['client'], text = 'select distinct agency_id from flux.runs') =>
    ((await client.query(text)).rows as { agency_id: string }[]).map(({ agency_id }) => agency_id);

  test('sees the later tenant alone, within a transaction and after an error', async () => {
    await asApi(async (client) => {
      await client.query('begin');
      await client.query(...context(alpha));
      expect(await agencies(client)).toEqual([alpha.slug]);
      await client.query(...context(omega));
      expect(await agencies(client)).toEqual([omega.slug]);
      await client.query('select 1/0').catch(() => undefined);
      await client.query('rollback');
      await expect(agencies(client)).rejects.toMatchObject({ code: '42501' });
    });
  });

  test('runs what was prepared under one tenant as the other', async () => {
    await asApi(async (client) => {
      const prepared = { name: 'mine', text: 'select distinct agency_id from flux.runs' };
      for (const of of [alpha, omega, alpha]) {
        await client.query('begin');
        await client.query(...context(of));
        expect((await client.query(prepared)).rows).toEqual([{ agency_id: of.slug }]);
        await client.query('commit');
      }
    });
  });

  test('keeps no context beyond its transaction, not even one that was set for the session', async () => {
    await asApi(async (client) => {
      await client.query(`select set_config('flux.context', $1, false)`, [database.tenant(alpha.slug)]);
      await client.query('discard all');
      await expect(agencies(client)).rejects.toMatchObject({ code: '42501' });
    });
  });

  test('hears nothing of an agency in any notification', async () => {
    await asApi(async (client) => {
      const heard: string[] = [];
      client.on('notification', ({ payload }) => heard.push(payload ?? ''));
      for (const channel of ['flux_work', 'flux_run_events']) await client.query(`listen ${channel}`);
      const { cancelRun } = await import('../../src/domain/cancel-run.ts');
      const { contextOf } = await import('../support/api.ts');
      const asOmega = contextOf(database, omega.slug, { clearance: 5 });
      await cancelRun(asOmega.api, asOmega, {
        runId: omega.runs[1] as string,
        reason: omega.canary,
        graceSeconds: null,
        idempotencyKey: null,
      });
      // Another backend's notification comes when the system delivers its signal.
      await vi.waitFor(
        async () => {
          await client.query('select 1');
          expect(heard.length).toBeGreaterThan(0);
        },
        { timeout: 25_000, interval: 20 },
      );
      // An opaque id of a run is all that is said, and it shows nothing to who is not its agency.
      expect(heard.filter((payload) => payload.includes(omega.canary) || payload.includes(omega.slug))).toEqual([]);
    });
  });
});
