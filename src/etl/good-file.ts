/** The file of a batch's good records: CSV for COPY, or Parquet where it becomes a part of a stage. */
import { join } from 'node:path';
import { ident, literal } from './duckdb/sql-text.ts';
import { writesParts } from './output-shape.ts';
import type { ChildJob } from './protocol.ts';

/** @param name without its extension, in the job's folder */
export function goodFilePath(job: ChildJob, name: string): string {
  return join(job.workFolder, `${name}.${writesParts(job) ? 'parquet' : 'csv'}`);
}

/** What DuckDB's COPY writes to. */
export function goodFileTarget(job: ChildJob, path: string): string {
  const options = writesParts(job)
    ? 'format parquet, compression zstd'
    : `format csv, header false, delimiter ',', quote '"', escape '"', nullstr ''`;
  return `${literal(path)} (${options})`;
}

/** In the order of the file: where the source's own is kept, a record can be written as it stands. */
export function goodColumns(output: readonly { name: string }[], rowOrder: readonly number[] | undefined): string[] {
  const names = output.map(({ name }) => name);
  return rowOrder?.map((at) => names[at] as string) ?? names;
}

/** What a good record consists of there. */
export function goodCells(columns: readonly string[]): string {
  return ['_flux_record', ...columns.map((name) => ident(name))].join(', ');
}
