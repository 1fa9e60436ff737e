import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { INTEGER, VARCHAR } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DuckDbSession } from '../../../src/etl/duckdb/session.ts';
import { ident, literal, numberLiteral } from '../../../src/etl/duckdb/sql-text.ts';

describe('a DuckDB session', () => {
  let folder: string;
  let session: DuckDbSession;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'flux-duck-'));
    writeFileSync(join(folder, 'object'), 'a\n1\n');
    writeFileSync(join(folder, 'neighbour'), 'a\n2\n');
    session = await DuckDbSession.open({
      memoryMegabytes: 64,
      paths: [join(folder, 'object')],
      folders: [join(folder, 'own')],
    });
  });
  afterAll(() => {
    session.close();
    rmSync(folder, { recursive: true });
  });

  test('reads its own object', async () => {
    expect(await session.rows(`select content from read_text(${literal(join(folder, 'object'))})`)).toEqual([
      ['a\n1\n'],
    ]);
  });

  test.for([
    ['a neighbour', (): string => `select * from read_text(${literal(join(folder, 'neighbour'))})`],
    [
      'a neighbour by a way round',
      (): string => `select * from read_text(${literal(join(folder, 'own', '..', 'neighbour'))})`,
    ],
    ['a system file', (): string => "select * from read_text('/etc/passwd')"],
    ['the network', (): string => "select * from read_csv('https://example.gov/a.csv')"],
    ['an extension', (): string => 'install httpfs'],
    ['another setting', (): string => "set memory_limit = '10GB'"],
    ['another database', (): string => `attach ${literal(join(folder, 'other.db'))}`],
    ['a file to write', (): string => `copy (select 1) to ${literal(join(folder, 'written'))}`],
  ] as const)('does not reach %s', async ([, sql]) => {
    await expect(session.rows(sql())).rejects.toThrow();
  });

  test('asks a query again of what its table holds now, and of another table with its name', async () => {
    const query = 'select sum(n)::integer, count(*)::integer from numbers';
    await session.run('create temp table numbers (n integer)');
    for (const rows of [3, 1, 5000]) {
      await session.run('begin transaction');
      await session.append('numbers', [INTEGER], [Array.from({ length: rows }, () => 2)]);
      expect(await session.rowsAgain(query)).toEqual([[2 * rows, rows]]);
      await session.run('rollback');
      expect(await session.rowsAgain(query)).toEqual([[null, 0]]);
    }
    expect(await session.rowsAgain('select 1')).toEqual([[1]]);
    await session.run('create or replace temp table numbers as select 7::double as n');
    expect(await session.rowsAgain(query)).toEqual([[7, 1]]);
    await session.run('create or replace temp table numbers as select 8::double as n');
    expect(await session.rowsAgain(query)).toEqual([[8, 1]]);
    await expect(session.rowsAgain('select x from numbers')).rejects.toThrow();
    expect(await session.rowsAgain(query)).toEqual([[8, 1]]);
  });

  test('asks a query again of rows that it was not planned for', async () => {
    await session.run('create temp table left_rows (n integer, t varchar)');
    const ask = async (rows: readonly (readonly [number | null, string | null])[]): Promise<unknown[][]> => {
      await session.run('begin transaction');
      await session.append('left_rows', [INTEGER, VARCHAR], [rows.map(([n]) => n), rows.map(([, t]) => t)]);
      const found = await session.rowsAgain(
        "select n is null, t is null, n > 5, t like 'a%', length(t) > 2 from left_rows",
      );
      await session.run('rollback');
      return found;
    };
    expect(await ask([[1, 'a']])).toEqual([[false, false, false, true, false]]);
    expect(await ask([[null, null]])).toEqual([[true, true, null, null, null]]);
    expect(await ask([[9, 'bcd']])).toEqual([[false, false, true, false, true]]);
  });

  test('takes back rows of which one could not be put into its table', async () => {
    await session.run('create temp table halves (n integer)');
    await session.run('begin transaction');
    const values = [...Array.from({ length: 3000 }, () => 1), 'none'];
    await expect(session.append('halves', [INTEGER], [values])).rejects.toThrow();
    await session.run('rollback');
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
    await new Promise(setImmediate);
    expect(await session.rows('select count(*)::integer from halves')).toEqual([[0]]);
    await session.run('begin transaction');
    await session.append('halves', [INTEGER], [[7]]);
    expect(await session.rows('select sum(n)::integer, count(*)::integer from halves')).toEqual([[7, 1]]);
    await session.run('rollback');
  });

  test('keeps names and values apart from syntax', async () => {
    expect(await session.rows(`select ${literal("it's; --")} as ${ident('a"b')}`)).toEqual([["it's; --"]]);
    expect(() => literal('\0')).toThrow();
    expect(() => ident('\0')).toThrow();
    for (const value of [0, -0, 1, -1.5, 1e300, 5e-324, 2 ** 53, 0.1]) {
      expect(Number((await session.rows(`select ${numberLiteral(value)}`))[0]?.[0])).toBe(value + 0);
    }
  });
});
