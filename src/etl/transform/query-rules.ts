import type { DuckDbSession } from '../duckdb/session.ts';
import { literal } from '../duckdb/sql-text.ts';
import { type ParsedSql, refused } from './parsed-sql.ts';

const classes = new Set([
  ...['COLUMN_REF', 'CONSTANT', 'FUNCTION', 'OPERATOR', 'COMPARISON', 'CONJUNCTION', 'CASE', 'CAST', 'BETWEEN'],
  ...['SUBQUERY', 'WINDOW', 'STAR', 'LAMBDA', 'COLLATE', 'POSITIONAL_REFERENCE'],
]);
/** Parts of a query that are no expressions. Left out: recursion, which may not end; pivots, samples, and whatever shows the session. */
const nodes = new Set([
  ...['SELECT_NODE', 'SET_OPERATION_NODE', 'CTE_NODE', 'BASE_TABLE', 'SUBQUERY', 'JOIN', 'EMPTY', 'EXPRESSION_LIST'],
  ...['TABLE_FUNCTION', 'ORDER_MODIFIER', 'LIMIT_MODIFIER', 'DISTINCT_MODIFIER'],
  ...['ORDER_DEFAULT', 'ASCENDING', 'DESCENDING'],
]);
const tableFunctions = new Set(['unnest', 'range', 'generate_series']);
/** Takes a random sample. */
const randomAggregates = new Set(['reservoir_quantile']);

/**
 * Says whether a text is one query over the table `records` that gives the same result each time: DuckDB's own parser reads it, and
 * nothing passes that is not on the list. No file, no other table, no function about the session, no chance.
 *
 * @param functions those that an expression may call; aggregates come on top
 * @returns whether the query says the order of its result, and whether it may give totals beside what they are totals of
 * @throws INVALID_INPUT naming what is not offered
 */
export async function checkQuery(
  session: DuckDbSession,
  functions: ReadonlySet<string>,
  { text, where }: { text: string; where: string },
): Promise<{ ordered: boolean; totals: boolean }> {
  const [row] = text.includes('\0') ? [] : await session.rows(`select json_serialize_sql(${literal(text)})`);
  const parsed = JSON.parse(typeof row?.[0] === 'string' ? row[0] : '{"error":true}') as ParsedSql;
  if (parsed.error) throw refused(where, `is no query (${parsed.error_message ?? 'it does not parse'})`);
  const [statement, ...more] = parsed.statements ?? [];
  if (statement === undefined || more.length > 0) throw refused(where, 'must be one query');
  const aggregates = await aggregateNames(session);
  const allowed = new Set([...functions, ...aggregates]);
  walk(statement.node, { tables: new Set(['records', ...commonTables(statement.node)]), allowed, where });
  const modifiers = (statement.node as { modifiers?: { type: string }[] }).modifiers ?? [];
  return { ordered: modifiers.some(({ type }) => type === 'ORDER_MODIFIER'), totals: !isOneLevel(statement.node) };
}

/**
 * Whether a query is so plain that each record counts in one row at most: one look at `records`, grouped in one way. Whatever reads a
 * record twice (GROUPING SETS, UNION, a subquery, a window, a list that is unnested) may write a sum beside its parts.
 */
function isOneLevel(node: unknown): boolean {
  const {
    type,
    group_sets: sets = [],
    from_table: from,
  } = node as {
    type?: string;
    group_sets?: unknown[];
    from_table?: { type?: string };
  };
  return type === 'SELECT_NODE' && sets.length <= 1 && from?.type === 'BASE_TABLE' && !readsTwice(node);
}

function readsTwice(part: unknown): boolean {
  if (Array.isArray(part)) return part.some(readsTwice);
  if (typeof part !== 'object' || part === null) return false;
  const { class: kind, function_name: name } = part as Record<string, unknown>;
  if (kind === 'SUBQUERY' || kind === 'WINDOW') return true;
  if (kind === 'FUNCTION' && tableFunctions.has(String(name).toLowerCase())) return true;
  return kind !== 'CONSTANT' && Object.values(part).some(readsTwice);
}

/** Aggregates, and functions of windows. */
export async function aggregateNames(session: DuckDbSession): Promise<string[]> {
  const rows = await session.rows(`
    select distinct lower(function_name) from duckdb_functions() where internal and function_type = 'aggregate'`);
  const windows = [
    'row_number',
    'rank',
    'dense_rank',
    'rank_dense',
    'percent_rank',
    'cume_dist',
    'ntile',
    'lag',
    'lead',
  ];
  const names = rows.map(([name]) => String(name)).filter((name) => !randomAggregates.has(name));
  return [...names, ...windows, 'first_value', 'last_value', 'nth_value', 'fill', 'unnest', 'count_star'];
}

/** The names of a query's own `with`, wherever they stand. */
function commonTables(part: unknown): string[] {
  if (Array.isArray(part)) return part.flatMap(commonTables);
  if (typeof part !== 'object' || part === null) return [];
  return Object.entries(part).flatMap(([name, value]) => {
    if (name !== 'cte_map') return commonTables(value);
    const { map = [] } = value as { map?: { key: string; value: unknown }[] };
    return map.flatMap((entry) => [entry.key.toLowerCase(), ...commonTables(entry.value)]);
  });
}

interface Rules {
  tables: ReadonlySet<string>;
  allowed: ReadonlySet<string>;
  where: string;
}

function walk(part: unknown, rules: Rules): void {
  if (Array.isArray(part)) {
    for (const each of part) walk(each, rules);
    return;
  }
  if (typeof part !== 'object' || part === null) return;
  const node = part as Record<string, unknown>;
  if (typeof node['class'] === 'string') checkExpression(node, rules);
  else if (typeof node['type'] === 'string') checkNode(node, node['type'], rules);
  // A constant's value may hold anything that looks like a node, and a type is no part of the query.
  if (node['class'] === 'CONSTANT') return;
  for (const [name, value] of Object.entries(node)) if (name !== 'cast_type') walk(value, rules);
}

function checkExpression(node: Record<string, unknown>, { allowed, where }: Rules): void {
  const kind = String(node['class']);
  if (!classes.has(kind)) throw refused(where, `uses ${kind.toLowerCase()}, which a query here cannot`);
  if (kind !== 'FUNCTION' && kind !== 'WINDOW') return;
  const name = String(node['function_name']).toLowerCase();
  if (allowed.has(name) || (kind === 'FUNCTION' && tableFunctions.has(name))) return;
  throw refused(where, `calls ${name}(), which is no deterministic function of the records`);
}

function checkNode(node: Record<string, unknown>, type: string, { tables, where }: Rules): void {
  if (!nodes.has(type)) throw refused(where, `uses ${type.toLowerCase()}, which a query here cannot`);
  if (node['sample'] !== null && node['sample'] !== undefined) throw refused(where, 'takes a sample, which is chance');
  if (type === 'BASE_TABLE') {
    const name = String(node['table_name']);
    const plain = node['schema_name'] === '' && node['catalog_name'] === '';
    if (!plain || !tables.has(name.toLowerCase()))
      throw refused(where, `reads "${name}"; the only table here is records`);
  }
  if (type === 'TABLE_FUNCTION') {
    const { function_name: name } = node['function'] as { function_name?: string };
    if (!tableFunctions.has(String(name).toLowerCase()))
      throw refused(where, `reads ${String(name)}(); the only table here is records`);
  }
}
