import { expect, test } from 'vitest';

import { sha256 } from '../../src/crypto/hash.ts';
import { migrate, type MigrationReport, readMigrations } from '../../src/db/migrate.ts';
import type { Connection } from '../../src/db/pool.ts';
import { type Sql, sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';
import { eventually } from '../support/flux.ts';

const database = useDatabase();

/** What comes after this version: columns of two tables that work holds in the other order. */
async function migrateTo(version: number, options: { patienceMs?: number } = {}): Promise<MigrationReport> {
  const history = (await readMigrations()).map((migration) => ({ ...migration }));
  for (let added = 9_001; added <= version; added += 1) {
    const text = `
      alter table flux.runs add column note_${String(added)} text;
      alter table flux.run_partitions add column note_${String(added)} text;
    `;
    history.push({ version: added, name: 'notes', text, sha256: sha256(text) });
  }
  return migrate(database.adminUrl, { contextKey: database.contextKey, migrations: history, ...options });
}

/** Resolves once a session waits for a lock of the kind on the table, and has all locks before it. */
async function untilWaiting(table: string, mode: string): Promise<void> {
  await eventually(
    async () => {
      const { rows } = await database.admin().query(sql`
        select from pg_locks where relation = ${table}::regclass and mode = ${mode} and not granted
      `);
      return rows.length;
    },
    (count) => count > 0,
    60_000,
  );
}

function withTransaction<T>(work: (tx: Connection) => Promise<T>): Promise<T> {
  return database.admin().withConnection(async (tx) => {
    await tx.query(sql`begin`);
    try {
      return await work(tx);
    } finally {
      await tx.query(sql`commit`);
    }
  });
}

const reads = (table: Sql): Sql => sql`select from ${table} limit 1`;

test('a migration gives way to work that holds its tables in another order, and is applied when it is done', async () => {
  const migrated = await withTransaction(async (tx) => {
    await tx.query(reads(sql`flux.run_partitions`));
    const migrating = migrateTo(9_001);
    migrating.catch(() => undefined);
    await untilWaiting('flux.run_partitions', 'AccessExclusiveLock');
    // The migration holds this one: here one of the two would be ended, were it not to give way.
    await tx.query(reads(sql`flux.runs`));
    return { migrating };
  });
  await expect(migrated.migrating).resolves.toMatchObject({ applied: ['9001_notes'] });
  const { rows } = await database.admin().query(sql`
    select deadlocks::int from pg_stat_database where datname = current_database()
  `);
  expect(rows).toEqual([{ deadlocks: 0 }]);
});

test('a migration whose tables are held for too long leaves nothing, says so, and is applied later', async () => {
  await migrateTo(9_001);
  await withTransaction(async (tx) => {
    await tx.query(reads(sql`flux.run_partitions`));
    await expect(migrateTo(9_002, { patienceMs: 1 })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/^Migration 9002_notes changes tables that .* Look for old transactions/),
    });
    const { rows } = await tx.query(sql`
      select from pg_attribute where attrelid = 'flux.runs'::regclass and attname = 'note_9002'
    `);
    expect(rows).toEqual([]);
  });
  expect((await migrateTo(9_002)).applied).toEqual(['9002_notes']);
});
