import { beforeAll, expect, it } from 'vitest';

import { createDatasetTable, createLoadTable } from '../../src/db/lake.ts';
import type { DatasetColumn } from '../../src/db/loads.ts';
import { ident, join, sql } from '../../src/db/sql.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
const schema = 'lake_nasa';

beforeAll(() => database.addAgency('nasa'));

/** In the order of a contract, which is that of their names. */
const columns: DatasetColumn[] = [
  { name: 'active', type: 'boolean' },
  { name: 'agency', type: 'text' },
  { name: 'amount', type: 'double precision' },
  { name: 'code', type: 'text' },
  { name: 'day', type: 'date' },
  { name: 'notes', type: 'jsonb' },
  { name: 'seen', type: 'timestamptz' },
  { name: 'size', type: 'bigint' },
  { name: 'total', type: 'numeric' },
];

it('a dataset keeps its columns in an order in which nothing is lost between them, and its loads in the same', async () => {
  const db = database.agencyPool('nasa');
  const table = { schema, dataset: 'packed', loadNo: 3n };
  await createDatasetTable(db, table, columns);
  await createLoadTable(db, table);
  const namesOf = async (name: string): Promise<string[]> => {
    const { rows } = await db.query<{ name: string }>(sql`
      select attname as name from pg_attribute
      where attrelid = ${`${schema}.${name}`}::regclass and attnum > 0 order by attnum
    `);
    return rows.map((row) => row.name);
  };
  const packed = ['amount', 'seen', 'size', 'day', 'active', 'agency', 'code', 'notes', 'total'];
  expect(await namesOf('packed')).toEqual(['_flux_load', '_flux_record', ...packed]);
  expect(await namesOf('packed__l3')).toEqual(['_flux_load', '_flux_record', ...packed]);

  // What a row of each order takes, by PostgreSQL's own count.
  const sizeOf = async (names: readonly string[]): Promise<number> => {
    const { rows } = await db.query<{ size: number }>(sql`
      select pg_column_size(row(${join(names.map((name) => ident(name)))})) as size
      from (
        select true as active, 'EPA'::text as agency, 1.5::float8 as amount, 'AB-1'::text as code, date '2024-01-01' as day,
          '{}'::jsonb as notes, timestamptz '2024-01-01Z' as seen, 7::bigint as size, 1.5::numeric as total
      ) one
    `);
    return rows[0]?.size ?? 0;
  };
  expect(await sizeOf(packed)).toBeLessThan(await sizeOf(columns.map(({ name }) => name)));
});
