import { randomBytes } from 'node:crypto';

import { inject } from 'vitest';

import { connect } from '../../src/db/pool.ts';
import { ident, sql } from '../../src/db/sql.ts';
import { databaseUrl, dropDatabase } from './template.ts';

/** Runs `use` with a new, empty database, and drops it with every role that was made for it. */
export async function withEmptyDatabase<T>(
  use: (database: { name: string; adminUrl: string }) => Promise<T>,
): Promise<T> {
  const server = inject('fluxServer');
  const name = `t_${server.runToken}_${randomBytes(4).toString('hex')}`;
  const connection = await connect({ url: server.serverUrl, applicationName: 'flux tests' });
  try {
    await connection.query(sql`create database ${ident(name)}`);
    return await use({ name, adminUrl: databaseUrl(server.serverUrl, name) });
  } finally {
    await dropDatabase(connection, name);
    await connection.end();
  }
}
