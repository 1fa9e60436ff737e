import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

import { copyFile } from '../../src/db/copy-file.ts';
import { connect, type Connection } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
const alive = new AbortController().signal;
const intoTable = 'copy pg_temp.copied from stdin (format csv)';
let folder: string;
let session: Connection & { end(): Promise<void> };

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'flux-copy-'));
  session = await connect({ url: database.adminUrl, applicationName: 'copies', prepared: true });
  await session.query(sql`create temporary table copied (n int, text text)`);
});
afterAll(async () => {
  await session.end();
  await rm(folder, { recursive: true });
});

async function fileOf(content: string): Promise<string> {
  const file = path.join(folder, 'rows.csv');
  await writeFile(file, content);
  return file;
}

async function counted(): Promise<unknown> {
  const { rows } = await session.query(sql`select count(*) as rows, coalesce(sum(n), 0) as n from pg_temp.copied`);
  return rows[0];
}

describe('a file copied into a table', () => {
  test('arrives byte by byte, over many of its pieces', async () => {
    await session.query(sql`truncate pg_temp.copied`);
    const rows = Array.from({ length: 20_000 }, (_each, n) => `${String(n)},${'é'.repeat(n % 97)}`);
    const file = await fileOf(`${rows.join('\n')}\n`);
    await expect(copyFile(session.client, intoTable, file, alive)).resolves.toBe(rows.length);
    const { rows: found } = await session.query<{ row: string }>(sql`
      select n || ',' || coalesce(text, '') as row from pg_temp.copied order by n
    `);
    expect(found.map(({ row }) => row)).toEqual(rows);
  });

  test('may be empty', async () => {
    await expect(copyFile(session.client, intoTable, await fileOf(''), alive)).resolves.toBe(0);
  });

  test('that the server refuses in the middle leaves the session usable, and nothing behind', async () => {
    await session.query(sql`truncate pg_temp.copied`);
    const file = await fileOf(`${'1,a\n'.repeat(200_000)}x,b\n${'1,a\n'.repeat(200_000)}`);
    await expect(copyFile(session.client, intoTable, file, alive)).rejects.toMatchObject({ code: '22P02' });
    expect(await counted()).toEqual({ rows: 0n, n: 0n });
  });

  test('that is not there asks the server nothing', async () => {
    const gone = path.join(folder, 'gone.csv');
    await expect(copyFile(session.client, intoTable, gone, alive)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await counted()).toEqual({ rows: 0n, n: 0n });
  });

  test('that is aborted while the server takes it fails with the reason, and the session goes on', async () => {
    const gate = await connect({ url: database.adminUrl, applicationName: 'gate' });
    await gate.query(sql`select pg_advisory_lock(771)`);
    await session.query(sql`
      create temporary table gated (n int, text text, check (pg_advisory_xact_lock_shared(771) is not null))
    `);
    const stop = new AbortController();
    // More than the system takes off our hands while the server reads nothing.
    const file = await fileOf(`1,${'a'.repeat(1_000)}\n`.repeat(40_000));
    const copying = copyFile(session.client, 'copy pg_temp.gated from stdin (format csv)', file, stop.signal);
    const outcome = expect(copying).rejects.toThrow('that is enough');
    await vi.waitFor(
      async () => {
        const { rows } = await gate.query(sql`
          select from pg_locks where locktype = 'advisory' and objid = 771 and not granted
        `);
        expect(rows).toHaveLength(1);
      },
      { timeout: 30_000 },
    );
    stop.abort(new Error('that is enough'));
    await gate.end();
    await outcome;
    const { rows } = await session.query(sql`select count(*) as rows from pg_temp.gated`);
    expect(rows).toEqual([{ rows: 0n }]);
  });

  test('over a connection that is ended fails, and lets go of the file', async () => {
    const other = await connect({ url: database.adminUrl, applicationName: 'ended', onError: () => undefined });
    await other.query(sql`create temporary table slow (n int, text text, check (pg_sleep(0.05) is not null))`);
    const { rows } = await other.query<{ pid: number }>(sql`select pg_backend_pid() as pid`);
    const file = await fileOf('1,a\n'.repeat(1_000_000));
    const copying = copyFile(other.client, 'copy pg_temp.slow from stdin (format csv)', file, alive);
    const outcome = expect(copying).rejects.toThrow();
    await database.admin().query(sql`select pg_terminate_backend(${rows[0]?.pid ?? 0}::int)`);
    await outcome;
    await other.end().catch(() => undefined);
  });
});
