import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { migrate, readMigrations, structureLock } from '../../src/db/migrate.ts';
import { type Connection, connect } from '../../src/db/pool.ts';
import { platformRoles, rolePrefix } from '../../src/db/roles.ts';
import { ident, sql } from '../../src/db/sql.ts';

/** Every test database seals and derives passwords with this key; it protects nothing. */
export const testContextKey = createHash('sha256').update('flux tests').digest();

/** What one vitest run shares with its test files. */
export interface TestServer {
  /** A superuser's URL of the server's database `postgres`. */
  serverUrl: string;
  /** A migrated database that nobody connects to; files clone it. */
  template: string;
  /** Names this vitest run in its databases, so that what a killed run left behind can be told from what is in use. */
  runToken: string;
}

/**
 * Prepares the server: removes what killed runs left behind, and migrates the template unless one of these migrations
 * stands already. Several vitest runs may share the server.
 *
 * A run holds a shared advisory lock on its token and one on its template until `release`; whatever can be locked
 * exclusively belongs to nobody any more.
 */
export async function prepareServer(serverUrl: string): Promise<{ server: TestServer; release(): Promise<void> }> {
  const template = `t_tpl_${await migrationsDigest()}`;
  const runToken = randomBytes(4).toString('hex');
  const connection = await connect({ url: serverUrl, applicationName: 'flux tests' });
  await connection.query(sql`select pg_advisory_lock_shared(hashtextextended(${template}, 0))`);
  await connection.query(sql`select pg_advisory_lock_shared(hashtextextended(${`t_${runToken}`}, 0))`);
  await connection.query(sql`select pg_advisory_lock(${structureLock})`);
  try {
    await removeLeftovers(connection, template);
    await ensureTemplate(connection, serverUrl, template);
  } finally {
    await connection.query(sql`select pg_advisory_unlock(${structureLock})`);
  }
  return { server: { serverUrl, template, runToken }, release: () => connection.end() };
}

/** Drops a test database and the agencies' logins that were made for it. */
export async function dropDatabase(server: Connection, database: string): Promise<void> {
  await server.query(sql`drop database if exists ${ident(database)} with (force)`);
  const { rows } = await server.query<{ rolname: string }>(
    sql`select rolname::text from pg_roles where starts_with(rolname, ${`${rolePrefix(database)}_`})`,
  );
  for (const { rolname } of rows) await server.query(sql`drop role if exists ${ident(rolname)}`);
}

/** The same server, another database. */
export function databaseUrl(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}

/** What decides how a migrated database looks: the files, and the code that applies them. */
async function migrationsDigest(): Promise<string> {
  const hash = createHash('sha256');
  for (const { name, text } of await readMigrations()) hash.update(name).update(text);
  for (const file of ['migrate.ts', 'roles.ts']) {
    hash.update(await readFile(new URL(`../../src/db/${file}`, import.meta.url)));
  }
  return hash.digest('hex').slice(0, 12);
}

/** `datistemplate` marks a template as finished: one whose migration broke off is made again. */
async function ensureTemplate(connection: Connection, serverUrl: string, template: string): Promise<void> {
  const { rows } = await connection.query(sql`select from pg_database where datname = ${template} and datistemplate`);
  if (rows.length > 0) return;
  await dropDatabase(connection, template);
  await connection.query(sql`create database ${ident(template)}`);
  await migrate(databaseUrl(serverUrl, template), { contextKey: testContextKey });
  await connection.query(sql`alter database ${ident(template)} with is_template true allow_connections false`);
}

async function removeLeftovers(connection: Connection, current: string): Promise<void> {
  const { rows } = await connection.query<{ datname: string }>(
    sql`select datname::text from pg_database where datname ~ '^t_(tpl|[0-9a-f]{8})_[0-9a-f]+$' and datname <> ${current}`,
  );
  for (const { datname } of rows) {
    const owner = datname.startsWith('t_tpl_') ? datname : datname.split('_').slice(0, 2).join('_');
    await whenUnused(connection, owner, async () => {
      if (datname.startsWith('t_tpl_')) await connection.query(sql`alter database ${ident(datname)} is_template false`);
      await dropDatabase(connection, datname);
    });
  }
}

async function whenUnused(connection: Connection, owner: string, work: () => Promise<void>): Promise<void> {
  const { rows } = await connection.query<{ unused: boolean }>(
    sql`select pg_try_advisory_lock(hashtextextended(${owner}, 0)) as unused`,
  );
  if (!rows[0]?.unused) return;
  await work();
  await connection.query(sql`select pg_advisory_unlock(hashtextextended(${owner}, 0))`);
}

/** Clones the template. A clone keeps the template's platform roles; database-level grants are not copied with it. */
export async function cloneTemplate(connection: Connection, { template, runToken }: TestServer): Promise<string> {
  const database = `t_${runToken}_${randomBytes(4).toString('hex')}`;
  const roles = platformRoles(rolePrefix(template));
  await connection.query(sql`create database ${ident(database)} template ${ident(template)}`);
  await connection.query(sql`revoke connect, temporary on database ${ident(database)} from public`);
  await connection.query(sql`grant create, connect on database ${ident(database)} to ${ident(roles.owner)}`);
  await connection.query(sql`
    grant connect on database ${ident(database)}
    to ${ident(roles.api)}, ${ident(roles.worker)}, ${ident(roles.sealer)}
  `);
  return database;
}
