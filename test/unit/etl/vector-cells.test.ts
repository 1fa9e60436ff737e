import {
  BIGINT,
  BOOLEAN,
  DATE,
  DOUBLE,
  DuckDBDataChunk,
  DuckDBDateValue,
  type DuckDBType,
  type DuckDBValue,
  DuckDBTimestampValue,
  TIMESTAMP,
  VARCHAR,
} from '@duckdb/node-api';
import duckdb from '@duckdb/node-bindings';
import { expect, it } from 'vitest';
import { vectorRowCountMax } from '../../../src/etl/duckdb/vector-data.ts';
import type { OutputType } from '../../../src/etl/engine-types.ts';
import { vectorCells } from '../../../src/etl/sure/vector-cells.ts';

const cases: [name: string, type: DuckDBType, output: OutputType, value: DuckDBValue][] = [
  ['BIGINT', BIGINT, 'bigint', 7n],
  ['DOUBLE', DOUBLE, 'double precision', 7.5],
  ['BOOLEAN', BOOLEAN, 'boolean', true],
  ['DATE', DATE, 'date', new DuckDBDateValue(7)],
  ['TIMESTAMP', TIMESTAMP, 'timestamp', new DuckDBTimestampValue(7n)],
  ['VARCHAR', VARCHAR, 'text', 'a text that does not stand in its item'],
];

it.each(cases)(
  'cells of %s give back what they took of a vector when they take the next',
  (type, duckType, output, value) => {
    const cells = vectorCells({ field: null, type, output });
    const chunk = DuckDBDataChunk.create([duckType], vectorRowCountMax);
    chunk.setColumnValues(
      0,
      Array.from({ length: vectorRowCountMax }, (_each, row) => (row === 5 ? null : value)),
    );
    const vector = duckdb.data_chunk_get_vector(chunk.chunk, 0);
    const verdicts = { sure: new Uint8Array(vectorRowCountMax), bytes: new Int32Array(vectorRowCountMax) };
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    for (let time = 0; time < 1_000; time += 1) {
      cells?.read(vector, vectorRowCountMax, verdicts);
      most = Math.max(most, process.memoryUsage().arrayBuffers);
    }
    // Of the largest, two: the last one taken and its mask, or what its texts lead to.
    expect(most - before).toBeLessThan(500_000);
    expect(cells?.valueAt(6)).toEqual(value);
    expect(cells?.valueAt(5)).toBeNull();
  },
);
