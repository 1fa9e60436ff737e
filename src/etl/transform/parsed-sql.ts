import { FluxError } from '../../errors.ts';

/** What DuckDB's json_serialize_sql says of a text. */
export interface ParsedSql {
  error: boolean;
  error_message?: string;
  statements?: {
    node: { type: string; select_list?: unknown[]; from_table?: { type: string }; where_clause?: unknown };
  }[];
}

/** The refusal of a pipeline's SQL. */
export function refused(where: string, message: string, candidates?: readonly string[]): FluxError {
  const list = candidates === undefined ? '' : ` Columns here: ${candidates.join(', ')}.`;
  return new FluxError('INVALID_INPUT', `The SQL of ${where} ${message}.${list} Correct the pipeline.`, {
    details: { issues: [{ path: where, rule: 'sql', message }], ...(candidates === undefined ? {} : { candidates }) },
  });
}
