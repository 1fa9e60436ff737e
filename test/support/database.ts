import { afterAll, beforeAll, inject } from 'vitest';

import { sealContext } from '../../src/auth/tenant-context.ts';
import { sealKey } from '../../src/db/migrate.ts';
import { connect, createPool, type Pool } from '../../src/db/pool.ts';
import { agencyRole, platformRoles, type PlatformRoles, rolePassword, rolePrefix } from '../../src/db/roles.ts';
import { sql } from '../../src/db/sql.ts';
import { type AgencyOverrides, provisionTestAgency } from './agency.ts';
import { cloneTemplate, databaseUrl, dropDatabase, testContextKey } from './template.ts';

export interface TestDatabase {
  /** The database's name. */
  readonly name: string;
  /** A superuser's URL. Tests of isolation must not use it: row-level security does not bind a superuser. */
  readonly adminUrl: string;
  readonly contextKey: Buffer;
  /** The installation's platform roles. All files' databases share them; agencies' logins are the database's own. */
  readonly roles: PlatformRoles;
  /** The URL of a platform role (`roles.api`) or of an agency's login (`agencyRole`). */
  urlFor(role: string): string;
  readonly apiUrl: string;
  readonly workerUrl: string;
  /** The name of an agency's login. */
  agencyRole(agency: string, access?: 'rw' | 'ro'): string;
  /** Pools are made on first use and closed after the file. */
  admin(): Pool;
  apiPool(): Pool;
  workerPool(): Pool;
  /** As the agency's own login, which is how a worker holds a partition. */
  agencyPool(agency: string, access?: 'rw' | 'ro'): Pool;
  /** Adds an agency with its logins and its lake. */
  addAgency(slug: string, overrides?: AgencyOverrides): Promise<void>;
  /** A sealed tenant context for `inTenant`, good for an hour. Clearance is 0 (U) to 5 (SCI). */
  tenant(agency: string, options?: { role?: string; clearance?: number; expiresAt?: number }): string;
}

/**
 * Gives a test file a fresh database, cloned from the migrated template, and drops it afterwards with the logins made for
 * it. Call it at the top of the file; the database is there from `beforeAll` on.
 *
 * A connection that is still open at the end, apart from the pools lent here, fails the file: it is a leak.
 */
export function useDatabase(): TestDatabase {
  const pools = new Map<string, Pool>();
  let name: string | undefined;
  const server = inject('fluxServer');

  beforeAll(async () => {
    await withServer((connection) => cloneTemplate(connection, server).then((database) => (name = database)));
  });

  afterAll(async () => {
    await Promise.all([...pools.values()].map((pool) => pool.end()));
    if (name === undefined) return;
    const database = name;
    const leaked = await openConnections(database);
    await withServer((connection) => dropDatabase(connection, database));
    if (leaked.length > 0)
      throw new Error(`Connections left open by this file: ${leaked.join(', ')}. Close them in the test.`);
  });

  const opened = (): string => {
    if (name === undefined) throw new Error('The database exists from beforeAll on; use it in hooks and tests only.');
    return name;
  };
  const pool = (role: string, url: string, max: number, pipeline = false): Pool => {
    const existing = pools.get(role);
    if (existing) return existing;
    const created = createPool({ url, max, applicationName: `flux test ${role}`, pipeline });
    pools.set(role, created);
    return created;
  };

  const database: TestDatabase = {
    get name() {
      return opened();
    },
    get adminUrl() {
      return databaseUrl(server.serverUrl, opened());
    },
    contextKey: testContextKey,
    roles: platformRoles(rolePrefix(server.template)),
    urlFor(role) {
      const url = new URL(database.adminUrl);
      url.username = role;
      url.password = rolePassword(testContextKey, role);
      return url.href;
    },
    get apiUrl() {
      return database.urlFor(database.roles.api);
    },
    get workerUrl() {
      return database.urlFor(database.roles.worker);
    },
    agencyRole: (agency, access = 'rw') => agencyRole(opened(), agency, access),
    admin: () => pool('admin', database.adminUrl, 4),
    // As the API's own pool is.
    apiPool: () => pool('api', database.apiUrl, 8, true),
    workerPool: () => pool('worker', database.workerUrl, 8),
    agencyPool(agency, access = 'rw') {
      const role = database.agencyRole(agency, access);
      return pool(role, database.urlFor(role), 4);
    },
    addAgency: (slug, overrides = {}) =>
      provisionTestAgency({ adminUrl: database.adminUrl, contextKey: testContextKey }, slug, overrides),
    tenant(agency, { role = 'operator', clearance = 0, expiresAt = Math.floor(Date.now() / 1000) + 3600 } = {}) {
      return sealContext(sealKey(testContextKey), { agency, role, clearance, expiresAt });
    },
  };
  return database;

  async function withServer<T>(use: (connection: Awaited<ReturnType<typeof connect>>) => Promise<T>): Promise<T> {
    const connection = await connect({ url: server.serverUrl, applicationName: 'flux tests' });
    try {
      return await use(connection);
    } finally {
      await connection.end();
    }
  }

  /** Names of the connections to a database once the ones just closed have gone; a backend needs a moment to leave. */
  async function openConnections(of: string): Promise<string[]> {
    return withServer(async (connection) => {
      const deadline = performance.now() + 5_000;
      for (;;) {
        const { rows } = await connection.query<{ who: string }>(sql`
          select format('%s (%s)', coalesce(nullif(application_name, ''), '?'), usename) as who
          from pg_stat_activity, pg_sleep(0.02)
          where datname = ${of} and backend_type = 'client backend'
        `);
        if (rows.length === 0 || performance.now() > deadline) return rows.map(({ who }) => who);
      }
    });
  }
}
