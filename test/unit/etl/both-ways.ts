import { expect } from 'vitest';
import { definitionOf } from '../../support/etl.ts';
import { runSession, type SessionResult } from './session.ts';

type Format = Parameters<typeof definitionOf>[1];

/** A step that leaves every record as it is, and that nothing can be sure behind: DuckDB prints each row. */
const through = [{ type: 'filter', sql: 'true' }] as const;

/** The same source by the short way and by DuckDB; a number counts by its value, since the short way leaves it as it was written. */
export async function bothWays(
  content: string | Uint8Array,
  format: Format,
  contract: Record<string, unknown> | null,
  { batchRecords }: { batchRecords?: number } = {},
): Promise<{ sure: SessionResult; long: SessionResult }> {
  const definition = { ...definitionOf('a', format), ...(batchRecords && { batch: { records: batchRecords } }) };
  const sure = await runSession(content, definition, contract);
  const long = await runSession(content, { ...definition, transforms: [...through] }, contract);
  expect(sure.rows.map(valuesOf(sure))).toEqual(long.rows.map(valuesOf(long)));
  expect(sure.rejected).toEqual(long.rejected);
  expect(sure.batches.map(({ goodCount }) => goodCount)).toEqual(long.batches.map(({ goodCount }) => goodCount));
  return { sure, long };
}

const valuesOf =
  ({ survey }: SessionResult) =>
  ([record, ...cells]: (string | null)[]): unknown[] => [
    Number(record),
    ...cells.map((cell, at) => {
      const type = survey.columns[at]?.type;
      if (cell === null) return null;
      if (type === 'double precision') return Number(cell);
      if (type === 'bigint') return BigInt(cell);
      return type === 'timestamp' || type === 'timestamptz' ? cell.replace('T', ' ').replace('Z', '+00') : cell;
    }),
  ];
