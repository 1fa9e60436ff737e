/** What the catalogue of a database promises to the programs that use it, to be compared before and after a migration. */
import type { Queryable } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';

export interface CatalogueFacts {
  /** By `table.column`. */
  columns: Map<string, { table: string; type: string; required: boolean; filled: boolean }>;
  /** By name and argument types: what they return, and how many arguments may be left out. */
  functions: Map<string, { returns: string; optional: number }>;
  /** Constraints and unique indexes, by `table.name`: what a row must meet. */
  rules: Map<string, { table: string; rule: string }>;
  /** Policies that narrow what the others allow, by `table.name`. */
  narrowing: Map<string, { table: string }>;
  /** Whatever is there or not: grants, permissive policies, triggers. */
  others: Set<string>;
}

export async function readCatalogueFacts(db: Queryable): Promise<CatalogueFacts> {
  const columns = await db.query<{ key: string; table: string; type: string; required: boolean; filled: boolean }>(sql`
    select format('%s.%s', c.relname, a.attname) as key, c.relname::text as table,
      format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as required, a.atthasdef or a.attidentity <> '' as filled
    from pg_attribute a join pg_class c on c.oid = a.attrelid
    where c.relnamespace = 'flux'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and a.attnum > 0 and not a.attisdropped
  `);
  const functions = await db.query<{ key: string; returns: string; optional: number }>(sql`
    select format('%s(%s)', proname, pg_get_function_identity_arguments(oid)) as key,
      pg_get_function_result(oid) as returns, pronargdefaults::int as optional
    from pg_proc where pronamespace = 'flux'::regnamespace
  `);
  const rules = await db.query<{ key: string; table: string; rule: string }>(sql`
    select format('%s.%s', c.relname, o.conname) as key, c.relname::text as table,
      replace(pg_get_constraintdef(o.oid), ' NOT VALID', '') as rule
    from pg_constraint o join pg_class c on c.oid = o.conrelid
    where c.relnamespace = 'flux'::regnamespace and o.contype in ('c', 'f', 'p', 'u', 'x')
    union all
    select format('%s.%s', c.relname, i.indexrelid::regclass), c.relname, pg_get_indexdef(i.indexrelid)
    from pg_index i join pg_class c on c.oid = i.indrelid
    where c.relnamespace = 'flux'::regnamespace and i.indisunique
      and not exists (select from pg_constraint o where o.conindid = i.indexrelid)
  `);
  const narrowing = await db.query<{ key: string; table: string }>(sql`
    select format('%s.%s', tablename, policyname) as key, tablename::text as table
    from pg_policies where schemaname = 'flux' and permissive = 'RESTRICTIVE'
  `);
  const others = await db.query<{ fact: string }>(sql`
    select format('policy %s of %s', policyname, tablename) as fact
    from pg_policies where schemaname = 'flux' and permissive = 'PERMISSIVE'
    union all
    select format('trigger %s of %s', t.tgname, c.relname)
    from pg_trigger t join pg_class c on c.oid = t.tgrelid
    where c.relnamespace = 'flux'::regnamespace and not t.tgisinternal
    union all
    select format('grant of %s on %s to %s', lower(g.privilege_type), c.relname, coalesce(r.rolname, 'public'))
    from pg_class c cross join aclexplode(c.relacl) g left join pg_roles r on r.oid = g.grantee
    where c.relnamespace = 'flux'::regnamespace
    union all
    select format('grant of %s on %s.%s to %s', lower(g.privilege_type), c.relname, a.attname, coalesce(r.rolname, 'public'))
    from pg_attribute a join pg_class c on c.oid = a.attrelid
      cross join aclexplode(a.attacl) g left join pg_roles r on r.oid = g.grantee
    where c.relnamespace = 'flux'::regnamespace and not a.attisdropped
    union all
    select format('grant of execute on %s(%s) to %s', p.proname, pg_get_function_identity_arguments(p.oid),
      coalesce(r.rolname, 'public'))
    from pg_proc p cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g
      left join pg_roles r on r.oid = g.grantee
    where p.pronamespace = 'flux'::regnamespace
    union all
    select format('grant of %s on schema %s to %s', lower(g.privilege_type), n.nspname, coalesce(r.rolname, 'public'))
    from pg_namespace n cross join aclexplode(n.nspacl) g left join pg_roles r on r.oid = g.grantee
    where n.nspname = 'flux'
  `);
  return {
    columns: byKey(columns.rows),
    functions: byKey(functions.rows),
    rules: byKey(rules.rows),
    narrowing: byKey(narrowing.rows),
    others: new Set(others.rows.map(({ fact }) => fact)),
  };
}

const byKey = <Row extends { key: string }>(rows: readonly Row[]): Map<string, Row> =>
  new Map(rows.map((row) => [row.key, row]));

/**
 * What a program that works with `before` could no longer do, or rely on, with `after`; in words, sorted.
 *
 * Bodies of functions are not judged, and neither are policies' conditions: a test of what they do has to.
 */
export function takenAway(before: CatalogueFacts, after: CatalogueFacts): string[] {
  const taken: string[] = [];
  const tables = new Set([...before.columns.values()].map(({ table }) => table));
  for (const [name, column] of before.columns) {
    const now = after.columns.get(name);
    if (!now) taken.push(`column ${name} is gone`);
    else if (now.type !== column.type) taken.push(`column ${name} is ${now.type} instead of ${column.type}`);
    else if (now.required && !column.required) taken.push(`column ${name} may not be null any more`);
    else if (now.required && column.filled && !now.filled) taken.push(`column ${name} has lost its default`);
  }
  for (const [name, column] of after.columns) {
    const isNew = tables.has(column.table) && !before.columns.has(name);
    if (isNew && column.required && !column.filled) taken.push(`column ${name} is new, not null and without a default`);
  }
  for (const [name, { returns, optional }] of before.functions) {
    const now = after.functions.get(name);
    if (!now) taken.push(`function ${name} is gone`);
    else if (now.returns !== returns) taken.push(`function ${name} returns ${now.returns} instead of ${returns}`);
    else if (now.optional < optional) taken.push(`function ${name} needs more arguments`);
  }
  for (const [name, { table, rule }] of after.rules) {
    const was = before.rules.get(name);
    if (!was && tables.has(table)) taken.push(`rule ${name} is new: ${rule}`);
    else if (was && was.rule !== rule && !isWider(was.rule, rule)) taken.push(`rule ${name} has changed: ${rule}`);
  }
  for (const [name, { table }] of after.narrowing) {
    if (!before.narrowing.has(name) && tables.has(table)) taken.push(`restrictive policy ${name} is new`);
  }
  for (const fact of before.others) if (!after.others.has(fact)) taken.push(`${fact} is gone`);
  return taken.sort();
}

const literals = /'(?:[^']|'')*'::\w+/g;

/** Whether the only difference is that a list of values has got longer. */
function isWider(before: string, after: string): boolean {
  const [was, now] = [before, after].map((rule) => new Set(rule.match(literals))) as [Set<string>, Set<string>];
  const frame = (rule: string): string => rule.replaceAll(literals, '').replaceAll(/(?:, )+/g, '');
  return frame(before) === frame(after) && [...was].every((value) => now.has(value));
}
