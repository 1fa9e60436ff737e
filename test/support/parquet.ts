import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { DuckDBInstance } from '@duckdb/node-api';

/** A Parquet file of a query's rows. */
export async function parquetOf(query: string, rowsPerGroup = 2_048): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'flux-parquet-'));
  const instance = await DuckDBInstance.create(':memory:');
  try {
    const connection = await instance.connect();
    await connection.run(`copy (${query}) to '${folder}/a.parquet' (format parquet, row_group_size ${rowsPerGroup})`);
    return readFileSync(join(folder, 'a.parquet'));
  } finally {
    instance.closeSync();
    rmSync(folder, { recursive: true });
  }
}
