import type { FluxError } from '../../errors.ts';
import { ident, literal } from '../duckdb/sql-text.ts';

/** What `sterilise` of a pipeline may say; schemas/v1/pipeline.schema.json. */
export interface SteriliseTransform {
  hash?: readonly string[];
  /** `agency`, or `linkage:NAME`. */
  salt?: string;
  drop?: readonly string[];
  redact?: readonly string[];
  generalise?: Readonly<Record<string, { band?: number; date?: string }>>;
  minimumCell?: { count: string; minimum: number; totals?: 'none' };
  kAnonymity?: { k: number; columns: readonly string[] };
}

/** Names that expressions of users cannot call: they are no functions of DuckDB's own. */
export const hashFunction = '_flux_hash';
export const redactFunction = '_flux_redact';

interface Column {
  name: string;
  type: string;
}

/**
 * The columns after sterilisation, each with the expression that makes it. A hashed identifier is the keyed hash of its text; a band
 * stands for itself by its lower end; a date by the first day of its period; in free text what identifies people is masked.
 *
 * @param find the column that a name means; throws where there is none
 * @param misfit names what does not fit
 */
export function sterilisedColumns(
  transform: SteriliseTransform,
  columns: readonly Column[],
  { find, misfit }: { find(name: string): string; misfit(message: string): FluxError },
): { name: string; expression: string }[] {
  const made = new Map<string, string | null>();
  const set = (asked: string, make: (column: Column) => string | null): void => {
    const name = find(asked);
    const column = columns.find((each) => each.name === name) as Column;
    if (made.has(name)) throw misfit(`treats the column "${name}" twice`);
    made.set(name, make(column));
  };
  const salt = literal(transform.salt ?? 'agency');
  for (const name of transform.drop ?? []) set(name, () => null);
  for (const name of transform.hash ?? [])
    set(name, (column) => `${hashFunction}(${salt}, ${ident(column.name)}::varchar)`);
  for (const name of transform.redact ?? []) {
    set(name, (column) => {
      if (column.type !== 'VARCHAR') throw misfit(`redacts "${name}", which is ${column.type} and no text`);
      return `${redactFunction}(${ident(column.name)})`;
    });
  }
  for (const [name, how] of Object.entries(transform.generalise ?? {})) {
    set(name, (column) => generalised(column, how, misfit));
  }
  return columns.flatMap(({ name }) => {
    const expression = made.has(name) ? made.get(name) : ident(name);
    return expression === null || expression === undefined ? [] : [{ name, expression }];
  });
}

const numeric = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\))$/;

function generalised(
  { name, type }: Column,
  { band, date }: { band?: number; date?: string },
  misfit: (message: string) => FluxError,
): string {
  const column = ident(name);
  if (band !== undefined) {
    if (!numeric.test(type)) throw misfit(`makes bands of "${name}", which is ${type} and no number`);
    const whole = /INT/.test(type) && Number.isSafeInteger(band);
    return whole
      ? `(${column} - ((${column} % ${band}) + ${band}) % ${band})::bigint`
      : `(floor(${column}::double / ${band}) * ${band})`;
  }
  if (!/^(DATE|TIMESTAMP)/.test(type)) throw misfit(`cuts dates of "${name}", which is ${type}; cast it first`);
  return `date_trunc(${literal(date ?? 'year')}, ${column})::${type === 'DATE' ? 'date' : type.toLowerCase()}`;
}
