/** The file of a batch's good records: CSV for COPY, or Parquet where it becomes a part of a stage. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ident, literal } from './duckdb/sql-text.ts';
import { writesParts } from './output-shape.ts';
import type { ChildJob, PreparedBatch } from './protocol.ts';

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

/** What a good record consists of there. */
export function goodCells(columns: readonly string[]): string {
  return ['_flux_record', ...columns.map((name) => ident(name))].join(', ');
}

/** The statement that writes the good records of `_flux_batch`. @param file.ordered they may stand there in another order than that of their numbers */
export function copyGood(
  job: ChildJob,
  { columns, ordered, path }: { columns: readonly string[]; ordered: boolean; path: string },
): string {
  const order = ordered ? ' order by _flux_record' : '';
  return `
    copy (select ${goodCells(columns)} from _flux_batch where _flux_state = 0${order})
    to ${goodFileTarget(job, path)}`;
}

/** Removes what a batch has left for COPY. */
export async function removeFiles({
  goodFile,
  binaryFile,
}: Pick<PreparedBatch, 'goodFile' | 'binaryFile'>): Promise<void> {
  await rm(goodFile, { force: true });
  if (binaryFile) await rm(binaryFile.path, { force: true });
}
