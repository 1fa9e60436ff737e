import type { RecordCheck } from '../../contracts/contract.ts';
import { FluxError } from '../../errors.ts';
import { openPlainFile } from '../../objects/byte-file.ts';
import { openSealedFile } from '../../objects/sealed-file.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import { type ChildJob, sealFrom } from '../protocol.ts';
import type { ContractModel } from './contract-model.ts';
import { CsvReader } from './csv-reader.ts';
import { type FixedFormat, openFixedReader } from './fixed-reader.ts';
import { JsonReader } from './json-reader.ts';
import { openMainframeReader } from './mainframe/mainframe-reader.ts';
import { ParquetReader } from './parquet-reader.ts';
import type { SourceReader } from './reader.ts';
import { RuleModes } from './rule-modes.ts';

/** @throws INVALID_INPUT the format is not offered yet; SOURCE_INVALID as the readers do */
export async function openReader(
  session: DuckDbSession,
  job: ChildJob,
  contract: { model: ContractModel; check: RecordCheck } | null,
): Promise<SourceReader> {
  const { format } = job.definition.source;
  // DuckDB itself reads Parquet, so that one is a plain file always; the worker makes it for the step.
  if (format.type === 'parquet') {
    const { objectPath: path, objectByteCount: byteCount } = job;
    return ParquetReader.open(session, { path, byteCount }, contract?.model ?? null);
  }
  const file = job.seal ? openSealedFile(job.objectPath, sealFrom(job.seal)) : openPlainFile(job.objectPath);
  switch (format.type) {
    case 'csv':
      return new CsvReader(file, csvFormat(format, job), contract?.model ?? null, job.workFolder);
    case 'tsv':
      return new CsvReader(
        file,
        csvFormat({ delimiter: '\t', ...format }, job),
        contract?.model ?? null,
        job.workFolder,
      );
    case 'json':
      return new JsonReader(
        file,
        // Of a list in pages the records stand in one array already.
        { lines: false, recordPath: job.definition.source.pages ? '' : textOption(format, 'recordPath', '') },
        contract,
        job.workFolder,
        new RuleModes(job.definition.contract),
      );
    case 'ndjson':
      return new JsonReader(file, { lines: true }, contract, job.workFolder, new RuleModes(job.definition.contract));
    case 'fixed':
      return openFixedReader(file, fixedFormat(format), contract?.model ?? null, job.workFolder);
    case 'mainframe':
      return openMainframeReader(
        file,
        {
          copybook: textOption(format, 'copybook', ''),
          codePage: textOption(format, 'codePage', 'cp037'),
          records: textOption(format, 'records', 'fixed'),
        },
        contract?.model ?? null,
        job.workFolder,
      );
    default:
      throw new FluxError(
        'INVALID_INPUT',
        `The format "${format.type}" is not offered yet. Offered: csv, json, ndjson, parquet, fixed, mainframe.`,
      );
  }
}

function csvFormat(format: Readonly<Record<string, unknown>>, { definition }: ChildJob) {
  return {
    // That nothing has come since the last run is no fault.
    emptyAllowed: definition.source.incremental !== undefined,
    header: format['header'] !== false,
    columns: (format['columns'] as readonly string[] | undefined) ?? null,
    delimiter: textOption(format, 'delimiter', ','),
    quote: format['quote'] === null ? null : textOption(format, 'quote', '"'),
  };
}

function fixedFormat(format: Readonly<Record<string, unknown>>): FixedFormat {
  return {
    // The schema of pipelines has checked them.
    columns: format['columns'] as FixedFormat['columns'],
    recordLength: typeof format['recordLength'] === 'number' ? format['recordLength'] : null,
  };
}

function textOption(format: Readonly<Record<string, unknown>>, name: string, absent: string): string {
  const value = format[name];
  return typeof value === 'string' ? value : absent;
}
