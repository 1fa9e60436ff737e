import { FluxError } from '../../errors.ts';
import { ident } from '../duckdb/sql-text.ts';
import type { OutputColumn, OutputType } from '../engine-types.ts';

/** A column of the dataset, and the DuckDB expression that writes it as Postgres reads it. */
export interface WrittenColumn extends OutputColumn {
  expression: string;
}

const plainTypes: Readonly<Record<string, OutputType>> = {
  TINYINT: 'bigint',
  SMALLINT: 'bigint',
  INTEGER: 'bigint',
  BIGINT: 'bigint',
  UTINYINT: 'bigint',
  USMALLINT: 'bigint',
  UINTEGER: 'bigint',
  UBIGINT: 'numeric',
  HUGEINT: 'numeric',
  UHUGEINT: 'numeric',
  FLOAT: 'double precision',
  DOUBLE: 'double precision',
  BOOLEAN: 'boolean',
  VARCHAR: 'text',
  DATE: 'date',
  TIMESTAMP: 'timestamp',
  TIMESTAMP_S: 'timestamp',
  TIMESTAMP_MS: 'timestamp',
  TIMESTAMP_NS: 'timestamp',
  'TIMESTAMP WITH TIME ZONE': 'timestamptz',
  JSON: 'jsonb',
};
const asTextTypes = new Set(['TIME', 'TIME WITH TIME ZONE', 'INTERVAL', 'UUID', 'BIT']);

/** @throws INVALID_INPUT a column has a type that no column of a dataset can hold */
export function outputColumns(described: readonly { name: string; type: string }[]): WrittenColumn[] {
  return described.map(({ name, type }) => {
    const column = ident(name);
    const plain = plainTypes[type];
    if (plain !== undefined) {
      const isPrecise = type === 'TIMESTAMP_NS';
      return { name, type: plain, expression: isPrecise ? `${column}::timestamp` : column };
    }
    if (type.startsWith('DECIMAL')) return { name, type: 'numeric', expression: column };
    if (type.startsWith('ENUM') || asTextTypes.has(type))
      return { name, type: 'text', expression: `${column}::varchar` };
    if (type.endsWith(']') || type.startsWith('STRUCT') || type.startsWith('MAP')) {
      return { name, type: 'jsonb', expression: `to_json(${column})` };
    }
    // A bare null: its type is open, and text holds it.
    if (type === '"NULL"' || type === 'NULL') return { name, type: 'text', expression: `${column}::varchar` };
    throw new FluxError(
      'INVALID_INPUT',
      `Column "${name}" is of type ${type}, which a dataset cannot hold. Leave it out of the contract, or derive another from it.`,
    );
  });
}
