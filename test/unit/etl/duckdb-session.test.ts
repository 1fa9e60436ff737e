import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

  test('keeps names and values apart from syntax', async () => {
    expect(await session.rows(`select ${literal("it's; --")} as ${ident('a"b')}`)).toEqual([["it's; --"]]);
    expect(() => literal('\0')).toThrow();
    expect(() => ident('\0')).toThrow();
    for (const value of [0, -0, 1, -1.5, 1e300, 5e-324, 2 ** 53, 0.1]) {
      expect(Number((await session.rows(`select ${numberLiteral(value)}`))[0]?.[0])).toBe(value + 0);
    }
  });
});
