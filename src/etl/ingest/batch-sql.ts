import { ident } from '../duckdb/sql-text.ts';
import type { RecordColumns } from './columns.ts';
import { ruleMessage, type SqlRule } from './contract-sql.ts';
import { typed } from './lexical.ts';
import type { Issue } from '../../errors.ts';
import { reasonCountMax } from './limits.ts';
import { passedState } from './passed-over.ts';
import type { RuleModes } from './rule-modes.ts';

/** A rule with the column that it is about. */
interface PlacedRule extends SqlRule {
  column: number;
}

/** The SQL that turns a source relation (`_flux_record` and cells) into typed records with a verdict. */
export interface ValidationSql {
  /** Typed columns under the dataset's names, behind `_flux_record _flux_state _flux_broken _flux_found _flux_raw`. */
  validated(source: string): string;
  /** The same with `_flux_json`: the record's values as one JSON array, null for a record that SQL refused. */
  validatedWithJson(source: string): string;
  /** Counts the values that are left out of records which are not refused; null where no rule does that. */
  dropped: { rules: { path: string; rule: string }[]; counts(source: string): string } | null;
  /** Why a record was refused, from its `_flux_broken` and `_flux_found`. */
  reasons(broken: readonly boolean[], found: readonly (string | null)[]): Issue[];
}

/**
 * @param rawJson whether `_flux_raw` is made here, because the source has no text of its own
 * @param passed condition over a typed record: it is passed over, and not judged
 */
export function compileValidation(
  { columns }: RecordColumns,
  { rawJson, modes, passed = null }: { rawJson: boolean; modes: RuleModes; passed?: string | null },
): ValidationSql {
  const all: PlacedRule[] = columns.flatMap((column, at) => column.rules.map((rule) => ({ ...rule, column: at })));
  const isDrop = ({ column, keyword }: PlacedRule): boolean => {
    const field = columns[column]?.field;
    return field ? modes.drops(field, keyword) : false;
  };
  const rules = all.filter((rule) => !isDrop(rule));
  const drops = all.filter(isDrop);
  /** The expression, or null where a rule that leaves the value out is broken. */
  const kept = (at: number, expression: string): string => {
    const broken = drops.filter(({ column }) => column === at).map((rule) => rule.broken);
    return broken.length === 0
      ? expression
      : `case when (${broken.join(' or ')}) is true then null else ${expression} end`;
  };
  const reads = columns.flatMap(({ read }, at) => (read === null ? [] : [`${read} as ${typed(at)}`]));
  const bad = rules.length === 0 ? 'false' : `(${rules.map(({ broken }) => broken).join('\n or ')}) is true`;
  // Inside case: computed for the refused records only.
  const broken =
    rules.length === 0
      ? 'null::boolean[]'
      : `case when _flux_bad then [${rules.map((rule) => `(${rule.broken}) is true`).join(', ')}] end`;
  const found = `case when _flux_bad then [${columns.map((column) => column.found).join(', ')}]::varchar[] end`;
  const members = columns.map((column) => `${ident(column.original)}: ${column.found}`).join(', ');
  const raw = rawJson ? `case when _flux_bad then to_json({${members}})::varchar end` : 'null::varchar';
  const values = columns.map(({ value, name }, at) => `${kept(at, value)} as ${ident(name)}`).join(',\n ');
  const json = `case when not _flux_bad then json_array(${columns.map((column, at) => kept(at, column.json)).join(', ')})::varchar end`;

  const over = passed === null ? 'false' : `(${passed}) is true`;
  const judged = (source: string): string =>
    `select *, ${bad}${passed === null ? '' : ` and not (${over})`} as _flux_bad from (select ${['*', ...reads].join(',\n ')} from (${source}))`;
  const state =
    passed === null ? '_flux_bad::integer' : `case when ${over} then ${passedState} else _flux_bad::integer end`;
  const validated = (source: string, more: string): string => `
    select _flux_record, ${state} as _flux_state, ${broken} as _flux_broken, ${found} as _flux_found, ${raw} as _flux_raw${more},
      ${values}
    from (${judged(source)})`;
  return {
    validated: (source) => validated(source, ''),
    validatedWithJson: (source) => validated(source, `, ${json} as _flux_json`),
    dropped:
      drops.length === 0
        ? null
        : {
            rules: drops.map(({ column, keyword }) => ({ path: columns[column]?.field?.pointer ?? '', rule: keyword })),
            counts: (source) => `
              select ${drops.map(({ broken }) => `count(*) filter (where not _flux_bad and not (${over}) and (${broken}) is true)`).join(', ')}
              from (${judged(source)})`,
          },
    reasons: (verdicts, values) =>
      rules
        .filter((_rule, at) => verdicts[at] === true)
        .slice(0, reasonCountMax)
        .map((rule) => {
          const column = columns[rule.column];
          return {
            path: column?.field?.pointer ?? `/${column?.original ?? ''}`,
            rule: rule.keyword,
            message: ruleMessage(rule, values[rule.column] ?? null, column?.quoted ?? true),
          };
        }),
  };
}
