import type { DuckDbSession } from '../duckdb/session.ts';
import { literal } from '../duckdb/sql-text.ts';
import { type ParsedSql, refused } from './parsed-sql.ts';
import { aggregateNames, checkQuery } from './query-rules.ts';

/** Parts of an expression that look at nothing but the record. Subqueries, windows, stars and parameters are left out. */
const expressionClasses = new Set([
  'COLUMN_REF',
  'CONSTANT',
  'FUNCTION',
  'OPERATOR',
  'COMPARISON',
  'CONJUNCTION',
  'CASE',
  'CAST',
  'BETWEEN',
]);
/** DuckDB writes these as macros over scalar functions. */
const scalarMacros = ['nullif', 'fdiv', 'fmod', 'split_part', 'date_add', 'ifnull', 'round_even'];
/** Deterministic by DuckDB's word, but about the session, or able to end it. */
const refusedFunctions = new Set([
  'error',
  'getenv',
  'getvariable',
  'current_setting',
  'currval',
  'nextval',
  'in_search_path',
  'write_log',
]);

/** Knows which functions an expression may call. One of these lives as long as its session. */
export class ExpressionRules {
  readonly #session: DuckDbSession;
  #functions: Promise<ReadonlySet<string>> | null = null;

  constructor(session: DuckDbSession) {
    this.#session = session;
  }

  /** Asked for by the first expression: DuckDB takes 30 ms to list them, and most pipelines have none. */
  #known(): Promise<ReadonlySet<string>> {
    return (this.#functions ??= this.#load());
  }

  async #load(): Promise<ReadonlySet<string>> {
    const rows = await this.#session.rows(`
      select distinct lower(function_name)
      from duckdb_functions()
      where internal
        and ((function_type = 'scalar' and stability = 'CONSISTENT')
          or (function_type = 'macro' and function_name in (${scalarMacros.map(literal).join(', ')})))`);
    const names = rows
      .map(([name]) => String(name))
      .filter((name) => !refusedFunctions.has(name) && !name.startsWith('pg_') && !name.startsWith('_flux_'));
    return new Set(names);
  }

  /**
   * Says whether the text is one expression over one record, so that it can stand in a query of ours and give the same
   * result each time: DuckDB's own parser reads it, and nothing passes that is not on the list.
   *
   * @returns the expression, in parentheses
   * @throws INVALID_INPUT naming what is not offered
   */
  async check(text: string, columns: readonly string[], where: string): Promise<string> {
    return this.#check(text, columns, { where, functions: await this.#known() });
  }

  /** The same of an expression over the records of a group. */
  async checkAggregate(text: string, columns: readonly string[], where: string): Promise<string> {
    const functions = new Set([...(await this.#known()), ...(await aggregateNames(this.#session))]);
    return this.#check(text, columns, { where, functions });
  }

  /** The same of a whole query over the table `records`. @returns whether it says the order of its result */
  async checkQuery(text: string, where: string): Promise<{ ordered: boolean; totals: boolean }> {
    return checkQuery(this.#session, await this.#known(), { text, where });
  }

  async #check(
    text: string,
    columns: readonly string[],
    { where, functions }: { where: string; functions: ReadonlySet<string> },
  ): Promise<string> {
    // The line ends keep a trailing comment from taking our own text with it.
    const wrapped = `(\n${text}\n)`;
    const [row] = text.includes('\0')
      ? []
      : await this.#session.rows(`select json_serialize_sql(${literal(`select ${wrapped}`)})`);
    const parsed = JSON.parse(typeof row?.[0] === 'string' ? row[0] : '{"error":true}') as ParsedSql;
    if (parsed.error) throw refused(where, `is no SQL expression (${parsed.error_message ?? 'it does not parse'})`);
    const nodes = parsed.statements ?? [];
    const list = nodes[0]?.node.select_list ?? [];
    const node = nodes[0]?.node;
    if (
      nodes.length !== 1 ||
      list.length !== 1 ||
      node?.type !== 'SELECT_NODE' ||
      node.from_table?.type !== 'EMPTY' ||
      node.where_clause
    ) {
      throw refused(where, 'must be one expression');
    }
    this.#walk(list[0], { columns: new Set(columns.map((name) => name.toLowerCase())), functions, where });
    return wrapped;
  }

  #walk(part: unknown, rules: Rules): void {
    if (Array.isArray(part)) {
      for (const each of part) this.#walk(each, rules);
      return;
    }
    if (typeof part !== 'object' || part === null) return;
    const expression = part as Record<string, unknown>;
    if (typeof expression['class'] === 'string') this.#checkOne(expression, rules);
    // A constant's value may hold anything that looks like a node.
    if (expression['class'] === 'CONSTANT') return;
    for (const value of Object.values(expression)) this.#walk(value, rules);
  }

  #checkOne(expression: Record<string, unknown>, { columns, functions, where }: Rules): void {
    const kind = String(expression['class']);
    if (!expressionClasses.has(kind)) {
      throw refused(
        where,
        `uses ${kind.toLowerCase()}; offered are columns, constants, operators, casts, case and scalar functions`,
      );
    }
    if (kind === 'COLUMN_REF') {
      const [name = ''] = expression['column_names'] as string[];
      if (!columns.has(name.toLowerCase())) {
        throw refused(where, `names the column "${name}", which the record does not have here`, [...columns]);
      }
    }
    if (kind === 'FUNCTION') {
      const name = String(expression['function_name']).toLowerCase();
      if (!functions.has(name)) {
        throw refused(where, `calls ${name}(), which is no deterministic function of one record's values`);
      }
    }
  }
}

interface Rules {
  columns: ReadonlySet<string>;
  functions: ReadonlySet<string>;
  where: string;
}
