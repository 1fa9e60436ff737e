import { copyFile } from './copy-file.ts';
import type { DatasetColumn } from './loads.ts';
import { type Connection, inStatementSpan, type Queryable } from './pool.ts';
import { ident, join, literal, type Sql, sql, toQuery } from './sql.ts';

/** A load's own table: invisible to the lake's readers until it is attached to its dataset. */
export interface LoadTable {
  /** The agency's lake. */
  schema: string;
  dataset: string;
  loadNo: bigint;
}

/** The load table's name. A dataset name holds no `__l<number>` ending, so the two cannot meet. */
export function loadTableName({ dataset, loadNo }: Pick<LoadTable, 'dataset' | 'loadNo'>): string {
  return `${dataset}__l${String(loadNo)}`;
}

const loadTable = (table: LoadTable): Sql => ident(table.schema, loadTableName(table));
const datasetTable = (table: LoadTable): Sql => ident(table.schema, table.dataset);

/** A type's name enters a statement only from this table. Bytes are those of a value, where all have the same; 0: they differ. */
const columnTypes: Readonly<Record<string, { name: Sql; bytes: number }>> = {
  bigint: { name: sql`bigint`, bytes: 8 },
  'double precision': { name: sql`double precision`, bytes: 8 },
  timestamp: { name: sql`timestamp`, bytes: 8 },
  timestamptz: { name: sql`timestamptz`, bytes: 8 },
  date: { name: sql`date`, bytes: 4 },
  boolean: { name: sql`boolean`, bytes: 1 },
  numeric: { name: sql`numeric`, bytes: 0 },
  text: { name: sql`text`, bytes: 0 },
  jsonb: { name: sql`jsonb`, bytes: 0 },
};

function typeOf({ type }: DatasetColumn): { name: Sql; bytes: number } {
  const known = columnTypes[type];
  if (!known) throw new TypeError(`expected a column type of ${Object.keys(columnTypes).join(', ')}, found ${type}`);
  return known;
}

const columnDefinition = (column: DatasetColumn): Sql => sql`${ident(column.name)} ${typeOf(column).name}`;

/**
 * In which a row takes the least: PostgreSQL begins a value at a multiple of its size, and what stands before it is lost (PostgreSQL, "Database
 * Page Layout"). A tenth of a load, and of the log that is written for it.
 */
function packed(columns: readonly DatasetColumn[]): DatasetColumn[] {
  return [...columns].sort((one, other) => typeOf(other).bytes - typeOf(one).bytes);
}

/**
 * Creates a dataset's table unless it exists, its columns in an order of its own: who reads it names them. The caller holds the dataset's row
 * lock.
 */
export async function createDatasetTable(
  tx: Queryable,
  table: LoadTable,
  columns: readonly DatasetColumn[],
): Promise<void> {
  await tx.query(sql`
    create table if not exists ${datasetTable(table)} (
      _flux_load bigint not null,
      _flux_record bigint not null,
      ${join(packed(columns).map(columnDefinition))}
    ) partition by list (_flux_load)
  `);
}

/** Adds columns to a dataset's table and to the loads that are part of it, null in their records. The caller holds the dataset's row lock. */
export async function addDatasetColumns(
  tx: Queryable,
  table: Pick<LoadTable, 'schema' | 'dataset'>,
  columns: readonly DatasetColumn[],
): Promise<void> {
  const added = columns.map((column) => sql`add column ${columnDefinition(column)}`);
  await tx.query(sql`alter table ${ident(table.schema, table.dataset)} ${join(added)}`);
}

/**
 * Creates a load's table, and takes from its readers what the lake's default privileges gave them: they read the dataset.
 * The CHECK lets it be attached later without a scan.
 */
export async function createLoadTable(tx: Queryable, table: LoadTable): Promise<void> {
  await tx.query(sql`
    create table ${loadTable(table)} (
      like ${datasetTable(table)},
      constraint own_load check (_flux_load = ${literal(String(table.loadNo))})
    )
  `);
  await tx.query(sql`
    alter table ${loadTable(table)}
    alter column _flux_load set default ${literal(String(table.loadNo))}
  `);
  const { rows: readers } = await tx.query<{ name: string }>(sql`
    select distinct pg_get_userbyid(acl.grantee) as name
    from pg_class c, aclexplode(c.relacl) as acl
    where c.oid = ${`${quoted(table.schema)}.${quoted(loadTableName(table))}`}::regclass
      and acl.grantee not in (0, c.relowner)
  `);
  if (readers.length > 0) {
    await tx.query(sql`revoke all on ${loadTable(table)} from ${join(readers.map(({ name }) => ident(name)))}`);
  }
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/**
 * Streams a file into a load's table, CSV without header or COPY's binary format: `_flux_record` and the columns, in this order. An abort
 * sends CopyFail and rejects; the caller rolls back.
 *
 * @returns rows written
 */
export async function copyIntoLoad(
  tx: Connection,
  table: LoadTable,
  columns: readonly string[],
  file: { path: string; format: 'csv' | 'binary' },
  signal: AbortSignal,
): Promise<number> {
  const names = join(['_flux_record', ...columns].map((name) => ident(name)));
  const { text } = toQuery(sql`copy ${loadTable(table)} (${names}) from stdin (format ${formats[file.format]})`);
  return inStatementSpan(text, () => copyFile(tx.client, text, file.path, signal));
}

const formats = { csv: sql`csv`, binary: sql`binary` };

/** Rows that stand in a load's table now. */
export async function countLoad(tx: Queryable, table: LoadTable): Promise<number> {
  const { rows } = await tx.query<{ count: bigint }>(sql`
    select count(*) as count
    from ${loadTable(table)}
  `);
  return Number(rows[0]?.count ?? 0n);
}

/** Removes the rows of a span of record numbers. @returns how many */
export async function deleteFromLoad(
  tx: Queryable,
  table: LoadTable,
  span: { first: bigint; last: bigint },
): Promise<number> {
  const { rowCount } = await tx.query(sql`
    delete from ${loadTable(table)}
    where _flux_record between ${span.first} and ${span.last}
  `);
  return rowCount;
}

/** Makes a load part of its dataset: its readers see all of it when the transaction commits. */
export async function attachLoad(tx: Queryable, table: LoadTable): Promise<void> {
  await completeColumns(tx, table);
  await tx.query(sql`
    alter table ${datasetTable(table)}
    attach partition ${loadTable(table)}
    for values in (${literal(String(table.loadNo))})
  `);
}

/** Gives a load's table the columns that its dataset got after the load was opened. */
async function completeColumns(tx: Queryable, table: LoadTable): Promise<void> {
  const relation = (name: string): string => `${quoted(table.schema)}.${quoted(name)}`;
  const { rows } = await tx.query<DatasetColumn>(sql`
    select d.attname as name, format_type(d.atttypid, null) as type
    from pg_attribute d
    where d.attrelid = ${relation(table.dataset)}::regclass
      and d.attnum > 0
      and not d.attisdropped
      and not exists (
        select
        from pg_attribute l
        where l.attrelid = ${relation(loadTableName(table))}::regclass
          and l.attname = d.attname
          and not l.attisdropped
      )
    order by d.attnum
  `);
  if (rows.length === 0) return;
  const added = rows.map(
    ({ name, type }) => sql`add column ${columnDefinition({ name, type: shortTypes[type] ?? type })}`,
  );
  await tx.query(sql`alter table ${loadTable(table)} ${join(added)}`);
}

/** As datasets call the types that PostgreSQL writes out. */
const shortTypes: Readonly<Record<string, string>> = {
  'timestamp without time zone': 'timestamp',
  'timestamp with time zone': 'timestamptz',
};

/** Removes every load that is attached to a dataset, with its rows. */
export async function dropAttachedLoads(tx: Queryable, table: LoadTable): Promise<void> {
  const { rows } = await tx.query<{ schema: string; name: string }>(sql`
    select n.nspname as schema, c.relname as name
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    join pg_namespace n on n.oid = c.relnamespace
    where i.inhparent = ${`${quoted(table.schema)}.${quoted(table.dataset)}`}::regclass
    order by c.oid
  `);
  for (const { schema, name } of rows) await tx.query(sql`drop table ${ident(schema, name)}`);
}

/** Rows of a load that lack a part of the key. */
export async function countRowsWithoutKey(tx: Queryable, table: LoadTable, key: readonly string[]): Promise<number> {
  const { rows } = await tx.query<{ count: bigint }>(sql`
    select count(*) as count
    from ${loadTable(table)}
    where ${join(
      key.map((name) => sql`${ident(name)} is null`),
      ' or ',
    )}
  `);
  return Number(rows[0]?.count ?? 0n);
}

/** Keeps of each key the record that came last in the load. @returns rows removed */
export async function removeEarlierDuplicates(
  tx: Queryable,
  table: LoadTable,
  key: readonly string[],
): Promise<number> {
  const columns = join(key.map((name) => ident(name)));
  const { rowCount } = await tx.query(sql`
    delete from ${loadTable(table)} as earlier
    using (
      select ${columns}, max(_flux_record) as last_record
      from ${loadTable(table)}
      group by ${columns}
      having count(*) > 1
    ) as newest
    where ${sameKey('earlier', 'newest', key)}
      and earlier._flux_record < newest.last_record
  `);
  return rowCount;
}

/** Removes the dataset's rows whose key the load has too. The load is not attached yet. @returns how many, of which load */
export async function removeReplacedRows(
  tx: Queryable,
  table: LoadTable,
  key: readonly string[],
): Promise<{ loadNo: bigint; count: bigint }[]> {
  const { rows } = await tx.query<{ loadNo: bigint; count: bigint }>(sql`
    with gone as (
      delete from ${datasetTable(table)} as old
      using ${loadTable(table)} as new
      where ${sameKey('old', 'new', key)}
      returning old._flux_load
    )
    select _flux_load as "loadNo", count(*) as count
    from gone
    group by _flux_load
  `);
  return rows;
}

function sameKey(left: string, right: string, key: readonly string[]): Sql {
  return join(
    key.map((name) => sql`${ident(left, name)} = ${ident(right, name)}`),
    ' and ',
  );
}

/** How the records of a load fall into groups that are alike in some of its columns. */
export interface GroupSizes {
  groups: number;
  /** Of the smallest; null for a load without records. */
  smallest: number | null;
}

/** Counts groups by the columns of a load, or of all that its dataset shows. */
export async function measureGroups(
  tx: Queryable,
  table: LoadTable,
  columns: readonly string[],
  { of = 'load' }: { of?: 'load' | 'dataset' } = {},
): Promise<GroupSizes> {
  const { rows } = await tx.query<{ groups: bigint; smallest: bigint | null }>(sql`
    select count(*) as groups, min(n) as smallest
    from (
      select count(*) as n
      from ${of === 'load' ? loadTable(table) : datasetTable(table)}
      group by ${join(columns.map((name) => ident(name)))}
    ) g
  `);
  const { groups = 0n, smallest = null } = rows[0] ?? {};
  return { groups: Number(groups), smallest: smallest === null ? null : Number(smallest) };
}

/** The smallest number above 0 in a column of a load; null where there is none. @returns nulls too, which are no count */
export async function smallestCell(
  tx: Queryable,
  table: LoadTable,
  column: string,
): Promise<{ smallest: number | null; unknown: number }> {
  const { rows } = await tx.query<{ smallest: string | null; unknown: bigint }>(sql`
    select min(${ident(column)}) filter (where ${ident(column)} <> 0)::text as smallest,
      count(*) filter (where ${ident(column)} is null) as unknown
    from ${loadTable(table)}
  `);
  const { smallest = null, unknown = 0n } = rows[0] ?? {};
  return { smallest: smallest === null ? null : Number(smallest), unknown: Number(unknown) };
}
