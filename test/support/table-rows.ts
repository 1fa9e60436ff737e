import { ident, sql } from '../../src/db/sql.ts';
import type { TestDatabase } from './database.ts';

/** Every row of every table of Flux and of the lakes as a line, with the transaction that wrote it and its place, by table. */
export async function allRows(database: TestDatabase): Promise<Map<string, Set<string>>> {
  const { rows: tables } = await database.admin().query<{ schema: string; name: string }>(sql`
    select n.nspname as schema, c.relname as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where (n.nspname = 'flux' or n.nspname like 'lake%') and c.relkind = 'r'
    order by 1, 2
  `);
  const found = new Map<string, Set<string>>();
  for (const { schema, name } of tables) {
    const { rows } = await database.admin().query<{ line: string }>(sql`
      select t.xmin::text || ' ' || t.ctid::text || ' ' || t::text as line from ${ident(schema, name)} t
    `);
    found.set(`${schema}.${name}`, new Set(rows.map(({ line }) => line)));
  }
  return found;
}

export interface RowChange {
  /** Lines that were not there before; an update is one of these and one of the others. */
  added: number;
  gone: number;
}

/** What two looks differ in, by table. A table that came or went differs too, also an empty one. */
export function changedRows(
  before: ReadonlyMap<string, ReadonlySet<string>>,
  after: ReadonlyMap<string, ReadonlySet<string>>,
): Record<string, RowChange> {
  const changes: Record<string, RowChange> = {};
  const none: ReadonlySet<string> = new Set();
  for (const table of new Set([...before.keys(), ...after.keys()])) {
    const [was, is] = [before.get(table), after.get(table)];
    const added = [...(is ?? none)].filter((line) => was?.has(line) !== true).length;
    const gone = [...(was ?? none)].filter((line) => is?.has(line) !== true).length;
    if (added + gone > 0 || !was || !is) changes[table] = { added, gone };
  }
  return changes;
}
