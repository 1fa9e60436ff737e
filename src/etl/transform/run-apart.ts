import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDbSession } from '../duckdb/session.ts';
import { ident, literal } from '../duckdb/sql-text.ts';
import { partExpression } from '../ingest/parts-reader.ts';

/**
 * Runs a user's query in a DuckDB of its own that may open the file with its records and write its result, and nothing else: not the
 * source, not the records as they were before sterilisation. Its process is the worker's child, which is killed when it takes too long.
 */
export async function runApart(
  session: DuckDbSession,
  { sql, from, into }: { sql: string; from: string; into: string },
  { folder, memoryMegabytes }: { folder: string; memoryMegabytes: number },
): Promise<void> {
  const own = await mkdtemp(join(folder, 'sql-'));
  const records = join(own, 'records.parquet');
  const result = join(own, 'result');
  try {
    const columns = (await session.describe(`select * exclude (_flux_record) from ${from}`)).map((column) => column);
    const parts = columns.map((column) => `${partExpression(column)} as ${ident(column.name)}`).join(', ');
    await session.run(
      `copy (select ${parts} from ${from} order by _flux_record) to ${literal(records)} (format parquet)`,
    );
    const given = columns.map(
      ({ name, type }) => `${ident(name)}::${type === '"NULL"' ? 'varchar' : type} as ${ident(name)}`,
    );
    const apart = await DuckDbSession.open({ memoryMegabytes, paths: [records, `${result}.parquet`], folders: [] });
    let shape: { name: string; type: string }[];
    try {
      await apart.run(
        `create temp view records as select ${given.join(', ')} from read_parquet(${literal(records)}, file_row_number = true)`,
      );
      await apart.run(`create temp table result as select * from (\n${sql}\n)`);
      shape = await apart.describe('select * from result');
      const made = shape.map((column) => `${partExpression(column)} as ${ident(column.name)}`).join(', ');
      await apart.run(`copy (select ${made} from result) to ${literal(`${result}.parquet`)} (format parquet)`);
    } finally {
      apart.close();
    }
    const taken = shape.map(
      ({ name, type }) => `${ident(name)}::${type === '"NULL"' ? 'varchar' : type} as ${ident(name)}`,
    );
    await session.run(`
      create temp table ${into} as
      select (file_row_number + 1)::bigint as _flux_record, ${taken.join(', ')}
      from read_parquet(${literal(`${result}.parquet`)}, file_row_number = true)`);
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}
