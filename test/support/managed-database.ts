import { ident, literal, sql } from '../../src/db/sql.ts';
import type { TestDatabase } from './database.ts';

/** Lends an empty database of an admin that is no superuser and may make roles, as on a managed server; it goes with its roles afterwards. */
export async function withManagedDatabase(
  database: TestDatabase,
  use: (managed: { name: string; adminUrl: string }) => Promise<void>,
): Promise<void> {
  const name = `${database.name}_managed`;
  const admin = ident(`${name}_admin`);
  const run = database.admin();
  await run.query(sql`create role ${admin} with login createrole password ${literal('managed')}`);
  await run.query(sql`create database ${ident(name)} owner ${admin}`);
  const url = new URL(database.adminUrl);
  url.pathname = `/${name}`;
  url.username = `${name}_admin`;
  url.password = 'managed';
  try {
    await use({ name, adminUrl: url.href });
  } finally {
    await run.query(sql`drop database ${ident(name)} with (force)`);
    const { rows } = await run.query<{ role: string }>(
      sql`select rolname as role from pg_roles where starts_with(rolname, ${`flux_${name}_`}) or rolname = ${`${name}_admin`} order by rolname desc`,
    );
    for (const { role } of rows) await run.query(sql`drop role ${ident(role)}`);
  }
}
