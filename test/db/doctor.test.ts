/** `flux doctor` finds each fault of a set-up that is caused here, and nothing where there is none. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { node } from '../../src/cli/doctor/host-checks.ts';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import { examine } from '../../src/cli/doctor/examine.ts';
import { loadConfig } from '../../src/config.ts';
import { leadAudit } from '../../src/db/audit-sealing.ts';
import { isSupportedServer, migrate, readMigrations } from '../../src/db/migrate.ts';
import { connect, createPool } from '../../src/db/pool.ts';
import { ident, type Sql, sql } from '../../src/db/sql.ts';
import { provisionTestAgency } from '../support/agency.ts';
import { pipelineDocument } from '../support/api.ts';
import { createAuthority } from '../support/certificates.ts';
import { useDatabase } from '../support/database.ts';
import { freePort } from '../support/flux.ts';
import { withManagedDatabase } from '../support/managed-database.ts';
import { agencyWith, start } from '../support/started-runs.ts';
import { createTestIssuer } from '../support/tokens.ts';
import { startWebServer } from '../support/web-server.ts';

const database = useDatabase();
let folder: string;
let port: number;

const at = (name: string): string => path.join(folder, name);
const run = (statement: Sql) => database.admin().query(statement);

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux doctor '));
  port = await freePort();
  const operator = await agencyWith(database, 'nasa', pipelineDocument());
  await start(operator, { pipeline: 'readings' });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

type Options = Parameters<typeof examine>[1];

/** All that is found, with these settings over those of a set-up without a fault. */
function findings(env: Record<string, string> = {}, options?: Options): Promise<Finding[]> {
  const config = loadConfig({
    DATABASE_URL: database.adminUrl,
    FLUX_CONTEXT_KEY: database.contextKey.toString('hex'),
    FLUX_HOME: at('home'),
    FLUX_PORT: String(port),
    ...env,
  });
  return examine(config, options);
}

/** What is wrong. */
const faults = async (env?: Record<string, string>, options?: Options): Promise<Finding[]> =>
  (await findings(env, options)).filter(({ ok }) => !ok);

/** That exactly this is wrong, and is told so. */
async function expectFault(
  name: string,
  message: RegExp,
  env?: Record<string, string>,
  options?: Options,
): Promise<void> {
  expect(await faults(env, options)).toEqual([
    { check: name, ok: false, message: expect.stringMatching(message) as string },
  ]);
}

async function whileSo(change: Sql, back: Sql, look: () => Promise<void>): Promise<void> {
  await run(change);
  try {
    await look();
  } finally {
    await run(back);
  }
}

test('nothing is wrong where nothing is', async () => {
  const found = await findings();
  expect(found.filter(({ ok }) => !ok)).toEqual([]);
  expect(found.map(({ check }) => check)).toEqual(
    expect.arrayContaining(['objects', 'clock', 'connections', 'migrations', 'roles', 'policies', 'logins', 'sealer']),
  );
});

test('nothing is wrong for an admin that is no superuser, as on a managed server, and what that one cannot see is said', () =>
  withManagedDatabase(database, async ({ adminUrl }) => {
    const { contextKey } = database;
    await migrate(adminUrl, { contextKey });
    await provisionTestAgency({ adminUrl, contextKey }, 'managed', {});
    const found = await findings({ DATABASE_URL: adminUrl });
    expect(found.filter(({ ok }) => !ok)).toEqual([]);
    expect(found.find(({ check }) => check === 'leases')?.message).toMatch(
      /^0 workers are there; only a superuser sees/,
    );
    // Before PostgreSQL 16 who may make roles may also grant those of the server.
    const { rows } = await database
      .admin()
      .query<{ version: number }>(sql`select current_setting('server_version_num')::int as version`);
    expect(found.some(({ check }) => check === 'rescue')).toBe((rows[0]?.version ?? 0) >= 160_000);
  }));

describe('of this machine it finds', () => {
  test.each(['18.20.4', '20.19.0', '22.17.9'])('a Node that is too old: %s', (version) => {
    expect(() => node(version)).toThrow(/expected Node 22\.18 or newer/);
  });

  test('an object store that cannot be written', async () => {
    await writeFile(at('a file'), '');
    await expectFault('objects', /cannot be written.*expected a folder or a bucket.*FLUX_OBJECT_STORE\.$/, {
      FLUX_OBJECT_STORE: `file:${at('a file')}`,
    });
  });

  test('disks without room', async () => {
    const found = await faults({}, { diskMin: 2 ** 60 });
    expect(found.map(({ check }) => check)).toEqual(['home', 'objects']);
    for (const { message } of found) expect(message).toMatch(/GB free; expected at least.*full-disk\.md/);
  });

  test('a port that somebody else has', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve));
    try {
      await expectFault('api', new RegExp(String(port)));
    } finally {
      await new Promise((resolve) => other.close(resolve));
    }
  });

  test('a certificate that ends soon, and one with another’s key', async () => {
    const authority = await createAuthority('Flux test');
    const day = 86_400_000;
    const soon = await authority.issue({ ip: '127.0.0.1', until: new Date(Date.now() + 2 * day) });
    const late = await authority.issue({ ip: '127.0.0.1', until: new Date(Date.now() + 30 * day) });
    for (const [name, text] of Object.entries({ soon: soon.cert, late: late.cert, key: soon.key, lateKey: late.key }))
      await writeFile(at(`${name}.pem`), text);
    const files = (cert: string, key: string) => ({
      FLUX_TLS_CERT: at(`${cert}.pem`),
      FLUX_TLS_KEY: at(`${key}.pem`),
    });
    await expectFault('tls', /good until .*; expected 7 days at least\. Renew it/, files('soon', 'key'));
    await expectFault('tls', /cannot be used/, files('late', 'key'));
    expect(await faults(files('late', 'lateKey'))).toEqual([]);
  });

  test('a Redis that does not answer', async () => {
    await expectFault('redis', /expected a Redis .*REDIS_URL/, {
      REDIS_URL: `redis://127.0.0.1:${String(await freePort())}`,
    });
  });

  test('a key set of an issuer that is not there, or is none', async () => {
    const server = await startWebServer();
    try {
      const { jwks } = await createTestIssuer('https://id.example.gov');
      server.put('/jwks', Buffer.from(JSON.stringify(jwks)));
      server.put('/page', Buffer.from('<html>'));
      const trusted = (where: string) => ({
        FLUX_ISSUERS: JSON.stringify([
          { issuer: 'https://id.example.gov', jwksUri: `${server.url}${where}`, agencies: ['nasa'] },
        ]),
      });
      expect(await faults(trusted('/jwks'))).toEqual([]);
      await expectFault('issuer', /status 404.*expected a key set/, trusted('/nothing'));
      await expectFault('issuer', /could not be read.*expected a key set/, trusted('/page'));
    } finally {
      await server.close();
    }
  });
});

describe('of the database it finds', () => {
  test('which versions of the server have CVE-2025-8713', () => {
    const [without, having] = [
      [150014, 150018, 160010, 170006, 180000, 190001],
      [140019, 150013, 160009, 170005],
    ];
    expect(without.filter((number) => !isSupportedServer(number))).toEqual([]);
    expect(having.filter(isSupportedServer)).toEqual([]);
  });

  test('that it does not answer', async () => {
    const url = new URL(database.adminUrl);
    url.port = String(await freePort());
    await expectFault('database', /No PostgreSQL answers/, { DATABASE_URL: url.href });
  });

  test('a clock that is ahead of or behind this host’s', async () => {
    const minute = 60_000;
    await expectFault('clock', /60\.\d s ahead of .*NTP/, {}, { now: () => Date.now() + minute });
    await expectFault('clock', /(59|60)\.\d s behind .*NTP/, {}, { now: () => Date.now() - minute });
  });

  test('too few connections', async () => {
    await expectFault('connections', /expected 658 for one API, 64 workers.*max_connections/, { FLUX_WORKERS: '64' });
  });

  test('an encoding in which not every text can be kept', async () => {
    const name = `${database.name}_ascii`;
    await run(
      sql`create database ${ident(name)} encoding 'SQL_ASCII' locale_provider libc lc_collate 'C' lc_ctype 'C' template template0`,
    );
    try {
      const url = new URL(database.adminUrl);
      url.pathname = `/${name}`;
      await expectFault('encoding', /SQL_ASCII; expected UTF8/, { DATABASE_URL: url.href });
    } finally {
      await run(sql`drop database ${ident(name)}`);
    }
  });

  test('migrations that are missing or changed; those of the next release are no fault', async () => {
    const { rows } = await run(sql`
      delete from flux.migrations where version = (select max(version) from flux.migrations) returning to_jsonb(migrations) as row
    `);
    const newest = rows[0]?.['row'] as { version: number };
    await expectFault('migrations', new RegExp(`lacks migrations ${String(newest.version)}; .*Run flux migrate`));
    await run(sql`
      insert into flux.migrations select * from jsonb_populate_record(null::flux.migrations, ${JSON.stringify(newest)})
    `);
    const [first] = await readMigrations();
    await whileSo(
      sql`update flux.migrations set sha256 = ${Buffer.alloc(32)} where version = 1`,
      sql`update flux.migrations set sha256 = ${first?.sha256 ?? null} where version = 1`,
      () => expectFault('migrations', /migrations 1 were applied with another text/),
    );
    await whileSo(
      sql`insert into flux.migrations (version, name, sha256) values (9999, 'of the next release', ${Buffer.alloc(32)})`,
      sql`delete from flux.migrations where version = 9999`,
      async () => expect(await faults()).toEqual([]),
    );
  });

  test('a login that row-level security does not bind', async () => {
    const login = ident(database.agencyRole('nasa'));
    await whileSo(sql`alter role ${login} bypassrls`, sql`alter role ${login} nobypassrls`, () =>
      expectFault('roles', /nasa_rw passes by row-level security; expected plain logins.*flux migrate/),
    );
  });

  test('a table whose row-level security is off or not forced', async () => {
    for (const [off, on] of [
      [sql`no force`, sql`force`],
      [sql`disable`, sql`enable`],
    ] as const) {
      await whileSo(
        sql`alter table flux.runs ${off} row level security`,
        sql`alter table flux.runs ${on} row level security`,
        () => expectFault('policies', /not forced on runs; .*alter table flux\.runs enable/),
      );
    }
  });

  test('logins that do not get in with this host’s context key, or with the URL they are given', async () => {
    await expectFault('logins', /the api’s login does not get in .*flux migrate/, {
      FLUX_CONTEXT_KEY: 'ab'.repeat(32),
    });
    const url = new URL(database.workerUrl);
    url.password = 'another';
    await expectFault('logins', /the worker’s login .*FLUX_WORKER_DATABASE_URL/, {
      FLUX_WORKER_DATABASE_URL: url.href,
    });
  });

  test('that nothing is sealed while something works, and that a sealer leads and does not seal', async () => {
    const pool = createPool({ url: database.apiUrl, max: 1, applicationName: 'flux api' });
    await pool.query(sql`select 1`);
    await expectFault('sealer', /1 processes work and no sealer does.*flux sealer/);
    await pool.end();
    const holder = await connect({ url: database.urlFor(database.roles.sealer), applicationName: 'flux test' });
    const epoch = await leadAudit(holder, { sealer: 'test', epoch: null, leaseMs: 3_600_000 });
    const entry = '019a0000-0000-7000-8000-000000000001';
    await run(sql`
      insert into flux.audit_inbox (agency_id, entry_id, at, body)
      values ('nasa', ${entry}, clock_timestamp() - interval '301 seconds', '{}')
    `);
    await expectFault('sealer', /leads and does not seal.*waits for 30\d s.*audit-break\.md/);
    await run(sql`delete from flux.audit_inbox where entry_id = ${entry}`);
    expect(await faults()).toEqual([]);
    await leadAudit(holder, { sealer: 'test', epoch, leaseMs: 0 });
    await holder.end();
  });

  test('partitions that no worker takes up although there is one', async () => {
    await run(sql`
      update flux.run_partitions set status = 'EXECUTING', leased_by = 'gone', lease_expires_at = clock_timestamp() - interval '2 minutes'
    `);
    // A set-up that is not running has nothing wrong: the next worker takes it up.
    expect(await faults()).toEqual([]);
    await whileSo(
      sql`insert into flux.workers (worker_id, state) values ('there', 'WORKING')`,
      sql`delete from flux.workers where worker_id = 'there'`,
      () => expectFault('leases', /1 partitions have been abandoned.*1 workers are there; expected.*stuck-run\.md/),
    );
  });
});
