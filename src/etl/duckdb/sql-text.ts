/**
 * Text for DuckDB. Prepared parameters cannot stand for identifiers, nor for options of table functions, so these two
 * functions are the only way by which a name or a value gets into DuckDB SQL.
 */

/** A quoted identifier. */
export function ident(name: string): string {
  if (name.includes('\0')) throw new Error('an identifier holds a NUL');
  return `"${name.replaceAll('"', '""')}"`;
}

/** A string literal. */
export function literal(text: string): string {
  if (text.includes('\0')) throw new Error('a literal holds a NUL');
  return `'${text.replaceAll("'", "''")}'`;
}

/** A number as a literal that DuckDB reads exactly as JavaScript holds it. */
export function numberLiteral(value: number): string {
  if (!Number.isFinite(value)) throw new Error(`no literal for ${value}`);
  if (Number.isSafeInteger(value)) return `${Object.is(value, -0) ? 0 : value}::bigint`;
  return `${literal(String(value))}::double`;
}
