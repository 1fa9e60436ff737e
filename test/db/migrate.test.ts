import { randomBytes } from 'node:crypto';

import { expect, test } from 'vitest';

import { sealContext } from '../../src/auth/tenant-context.ts';
import { migrate, readMigrations, sealKey } from '../../src/db/migrate.ts';
import { type Connection, connect } from '../../src/db/pool.ts';
import { platformRoles, rolePassword, rolePrefix } from '../../src/db/roles.ts';
import { ident, literal, sql } from '../../src/db/sql.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { catalogueViolations } from '../support/catalogue.ts';
import { withEmptyDatabase } from '../support/scratch.ts';
import { databaseUrl } from '../support/template.ts';

const contextKey = randomBytes(32);

async function withConnection<T>(url: string, use: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = await connect({ url, applicationName: 'migration test' });
  try {
    return await use(connection);
  } finally {
    await connection.end();
  }
}

function as(adminUrl: string, role: string, password: string): string {
  const url = new URL(adminUrl);
  url.username = role;
  url.password = password;
  return url.href;
}

test('applies every migration once, and nothing the second time', async () => {
  await withEmptyDatabase(async ({ name, adminUrl }) => {
    const files = (await readMigrations()).map(({ version, name: of }) => `${String(version).padStart(4, '0')}_${of}`);
    const first = await migrate(adminUrl, { contextKey });
    expect(first).toEqual({ applied: files, roles: platformRoles(rolePrefix(name)) });
    expect((await migrate(adminUrl, { contextKey })).applied).toEqual([]);
    await withConnection(adminUrl, async (db) => {
      const { rows } = await db.query(sql`select version from flux.migrations order by version`);
      expect(rows).toEqual(files.map((file) => ({ version: Number(file.slice(0, 4)) })));
      expect(await catalogueViolations(db, first.roles)).toEqual([]);
    });
  });
});

test('lets five migrators at once take turns: one applies each file, all succeed', async () => {
  await withEmptyDatabase(async ({ adminUrl }) => {
    const reports = await Promise.all(Array.from({ length: 5 }, () => migrate(adminUrl, { contextKey })));
    const applied = reports.flatMap((report) => report.applied);
    expect(applied.sort()).toEqual([...new Set(applied)]);
    expect(applied.length).toBe((await readMigrations()).length);
  });
});

test('refuses a database whose applied migration is not this file, or not known to this version', async () => {
  await withEmptyDatabase(async ({ adminUrl }) => {
    await migrate(adminUrl, { contextKey });
    await withConnection(adminUrl, async (db) => {
      await db.query(sql`update flux.migrations set sha256 = ${Buffer.alloc(32)} where version = 2`);
      await expect(migrate(adminUrl, { contextKey })).rejects.toMatchObject({
        code: 'MIGRATION_MISMATCH',
        message: expect.stringContaining('0002_definitions.sql has changed'),
      });
      await db.query(sql`delete from flux.migrations where version = 2`);
      await db.query(
        sql`insert into flux.migrations (version, name, sha256) values (9999, 'future', ${Buffer.alloc(32)})`,
      );
      await expect(migrate(adminUrl, { contextKey })).rejects.toMatchObject({
        code: 'MIGRATION_MISMATCH',
        message: expect.stringContaining('9999 (future)'),
      });
    });
  });
});

test('leaves nothing of a migration that fails, and goes on from there once the cause is gone', async () => {
  await withEmptyDatabase(async ({ adminUrl }) => {
    await withConnection(adminUrl, async (db) => {
      // The schema is in the way of the first file.
      await db.query(sql`create schema flux`);
      await expect(migrate(adminUrl, { contextKey })).rejects.toMatchObject({ code: '42P06' });
      const { rows } = await db.query(sql`select from pg_class where relnamespace = 'flux'::regnamespace`);
      expect(rows).toEqual([]);
      await db.query(sql`drop schema flux`);
    });
    expect((await migrate(adminUrl, { contextKey })).applied.length).toBeGreaterThan(0);
  });
});

test('says UNAVAILABLE when the server does not answer', async () => {
  await expect(migrate('postgres://postgres:x@127.0.0.1:1/flux', { contextKey })).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    retryable: true,
  });
});

test('stores the seal of the current key only: contexts of the key before are refused', async () => {
  await withEmptyDatabase(async ({ adminUrl }) => {
    const { roles } = await migrate(adminUrl, { contextKey });
    const nextKey = randomBytes(32);
    await migrate(adminUrl, { contextKey: nextKey });
    const seal = (key: Buffer): string =>
      sealContext(sealKey(key), {
        agency: 'nasa',
        role: 'viewer',
        clearance: 0,
        expiresAt: Math.floor(Date.now() / 1000) + 60,
      });
    // The logins' passwords follow the key as well.
    await withConnection(as(adminUrl, roles.api, rolePassword(nextKey, roles.api)), async (db) => {
      const agencyOf = (context: string): Promise<string> =>
        inTransaction(db, async (tx) => {
          await tx.query(sql`select set_config('flux.context', ${context}, true)`);
          const { rows } = await tx.query<{ agency: string }>(sql`select flux.current_agency() as agency`);
          return (rows[0] as { agency: string }).agency;
        });
      await expect(agencyOf(seal(contextKey))).rejects.toMatchObject({
        code: '42501',
        message: 'tenant context forged',
      });
      expect(await agencyOf(seal(nextKey))).toBe('nasa');
    });
  });
});

test('needs no superuser: a role that owns the database and may create roles is enough', async () => {
  await withEmptyDatabase(async ({ name, adminUrl }) => {
    const admin = `${rolePrefix(name)}_admin`;
    await withConnection(adminUrl, async (db) => {
      await db.query(sql`create role ${ident(admin)} with login createrole password ${literal('secret')}`);
      await db.query(sql`alter database ${ident(name)} owner to ${ident(admin)}`);
    });
    const ownUrl = as(adminUrl, admin, 'secret');
    const { roles } = await migrate(ownUrl, { contextKey });
    expect((await migrate(ownUrl, { contextKey })).applied).toEqual([]);
    await withConnection(adminUrl, async (db) => expect(await catalogueViolations(db, roles)).toEqual([]));
    // Without the right to signal, rescue finds nobody it may end, and says so instead of failing.
    await withConnection(as(adminUrl, roles.worker, rolePassword(contextKey, roles.worker)), async (db) => {
      const { rows } = await db.query(sql`select flux.rescue_partitions() as ended`);
      expect(rows).toEqual([{ ended: 0 }]);
    });
  });
});

test('a restored or renamed database keeps the role names it was installed with', async () => {
  await withEmptyDatabase(async ({ name, adminUrl }) => {
    const { roles } = await migrate(adminUrl, { contextKey });
    const renamed = `${name}_restored`;
    const rename = (from: string, to: string): Promise<unknown> =>
      withConnection(databaseUrl(adminUrl, 'postgres'), (db) =>
        db.query(sql`alter database ${ident(from)} rename to ${ident(to)}`),
      );
    await rename(name, renamed);
    try {
      expect(await migrate(databaseUrl(adminUrl, renamed), { contextKey })).toEqual({ applied: [], roles });
    } finally {
      await rename(renamed, name);
    }
  });
});
