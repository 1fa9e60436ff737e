import { connect } from './pool.ts';
import { ident, sql } from './sql.ts';

/**
 * Creates a database unless it exists.
 *
 * @param serverUrl an admin's URL of another database of the same server
 */
export async function ensureDatabase(serverUrl: string, name: string): Promise<void> {
  const admin = await connect({ url: serverUrl, applicationName: 'flux ensure database' });
  try {
    const { rows } = await admin.query(sql`select from pg_database where datname = ${name}`);
    if (rows.length === 0) await admin.query(sql`create database ${ident(name)}`);
  } finally {
    await admin.end();
  }
}
