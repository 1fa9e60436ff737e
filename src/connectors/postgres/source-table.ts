import type pg from 'pg';

import { invalidSource } from '../refusals.ts';
import type { SourceIncrement } from '../source.ts';

export interface SourceTable {
  schema: string;
  table: string;
}

/** What is read, as one statement. */
export interface Copy {
  statement: string;
  /** Up to where it reads, by the cursor column; null where all is read. */
  increment: SourceIncrement | null;
}

/** @returns null: not `schema.table` */
export function sourceTable(path: string): SourceTable | null {
  const [schema, table, ...more] = path.split('.');
  return schema && table && more.length === 0 ? { schema, table } : null;
}

/** What has an order that everybody means, and holds nobody's data. */
const cursorTypes = new Set([
  'smallint',
  'integer',
  'bigint',
  'numeric',
  'date',
  'timestamp without time zone',
  'timestamp with time zone',
]);

/**
 * The statement that reads a table in a settled order.
 *
 * By a cursor column: what lies behind `after`, up to the greatest value that the snapshot shows.
 *
 * @param increment.after null reads from the beginning
 * @throws SOURCE_INVALID there is no such table or column, or rows whose cursor is null, which no increment would ever read
 */
export async function copyOf(
  client: pg.Client,
  { schema, table }: SourceTable,
  increment: { cursor: string; after: string | null } | null,
): Promise<Copy> {
  const { types, keys } = await columnsOf(client, { schema, table });
  const columns = [...types.keys()];
  if (columns.length === 0) {
    throw invalidSource(
      `There is no ${schema}.${table} that the connection's user may read. Check source.path and its rights.`,
    );
  }
  const name = `${quoted(schema)}.${quoted(table)}`;
  const from = `select ${columns.map(quoted).join(', ')} from ${name}`;
  const order = (names: readonly string[]): string =>
    names.length > 0 ? ` order by ${names.map(quoted).join(', ')}` : '';
  if (increment === null) return { statement: copied(from + order(keys)), increment: null };

  const { cursor, after } = increment;
  const type = types.get(cursor);
  if (type === undefined)
    throw invalidSource(`${schema}.${table} has no column "${cursor}". Correct source.incremental.cursor.`);
  if (!cursorTypes.has(type)) {
    throw invalidSource(`${schema}.${table} has "${cursor}" as ${type}. Choose a column that is a number or a time.`);
  }
  const column = quoted(cursor);
  const { rows } = await client.query<{ newest: string | null; without: boolean }>(
    `select max(${column})::text as newest, exists (select from ${name} where ${column} is null) as without from ${name}`,
  );
  const { newest = null, without = false } = rows[0] ?? {};
  if (without) {
    throw invalidSource(
      `${schema}.${table} has rows without "${cursor}", which would never be read. Give them one, or choose a column that is never null.`,
    );
  }
  const behind = after === null ? '' : ` and ${column} > ${literal(after)}`;
  const upTo = newest === null ? ' where false' : ` where ${column} <= ${literal(newest)}${behind}`;
  return {
    statement: copied(from + upTo + order([cursor, ...keys.filter((key) => key !== cursor)])),
    increment: { cursor, value: newest ?? after },
  };
}

async function columnsOf(
  client: pg.Client,
  { schema, table }: SourceTable,
): Promise<{ types: Map<string, string>; keys: string[] }> {
  const { rows } = await client.query<{ column: string; type: string; key: number | null }>(
    `select a.attname::text as column, pg_catalog.format_type(a.atttypid, null) as type, array_position(i.indkey::int2[], a.attnum) as key
     from pg_catalog.pg_attribute a
     join pg_catalog.pg_class c on c.oid = a.attrelid
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     left join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisprimary
     where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'v', 'm', 'f')
       and a.attnum > 0 and not a.attisdropped
       and pg_catalog.has_column_privilege(c.oid, a.attnum, 'select')
     order by a.attnum`,
    [schema, table],
  );
  const keys = rows.filter(({ key }) => key !== null).sort((one, other) => Number(one.key) - Number(other.key));
  return { types: new Map(rows.map(({ column, type }) => [column, type])), keys: keys.map(({ column }) => column) };
}

/** RFC 4180 with a header: null is empty, the empty text is quoted. */
function copied(query: string): string {
  return `copy (${query}) to stdout (format csv, header true, encoding 'UTF8')`;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** COPY takes no parameters. As an unknown literal it takes the column's own type. */
function literal(text: string): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll("'", "''");
  return `E'${escaped}'`;
}
