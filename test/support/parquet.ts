import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { DuckDBInstance } from '@duckdb/node-api';

/** A Parquet file of a query's rows, with row groups of 2,048. */
export async function parquetOf(query: string): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'flux-parquet-'));
  const instance = await DuckDBInstance.create(':memory:');
  try {
    const connection = await instance.connect();
    await connection.run(`copy (${query}) to '${folder}/a.parquet' (format parquet, row_group_size 2048)`);
    return readFileSync(join(folder, 'a.parquet'));
  } finally {
    instance.closeSync();
    rmSync(folder, { recursive: true });
  }
}
