import { FluxError } from '../../errors.ts';
import { type ByteFile, openGrowingFile, openPlainFile } from '../../objects/byte-file.ts';
import { openSealedFile } from '../../objects/sealed-file.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import { type ChildJob, sealFrom } from '../protocol.ts';
import { CsvReader } from './csv-reader.ts';
import { type FixedFormat, openFixedReader } from './fixed-reader.ts';
import { type JsonLayout, jsonFormat } from './json-reader.ts';
import { type JudgedFormat, JudgedReader, type ReadContract } from './judged-reader.ts';
import { openMainframeReader } from './mainframe/mainframe-reader.ts';
import { ParquetReader } from './parquet-reader.ts';
import type { SourceReader } from './reader.ts';
import { RuleModes } from './rule-modes.ts';
import { openXlsxReader, type XlsxFormat } from './xlsx/xlsx-reader.ts';
import { xmlFormat } from './xml/xml-format.ts';

/** @throws INVALID_INPUT the format is not offered yet; SOURCE_INVALID as the readers do */
export async function openReader(
  session: DuckDbSession,
  job: ChildJob,
  contract: ReadContract | null,
): Promise<SourceReader> {
  const { format } = job.definition.source;
  // DuckDB itself reads Parquet, so that one is a plain file always; the worker makes it for the step.
  if (format.type === 'parquet') {
    const { objectPath: path, objectByteCount: byteCount } = job;
    return ParquetReader.open(session, { path, byteCount }, contract?.model ?? null);
  }
  if (format.type === 'xlsx') return openXlsxReader(job, xlsxFormat(format), contract);
  const file = openObject(job);
  const judged = (read: JudgedFormat): JudgedReader => judgedReader(file, read, { job, contract });
  const json = (layout: JsonLayout): JudgedReader => judged(jsonFormat(file, layout, contract));
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
      // Of a list in pages the records stand in one array already.
      return json({
        lines: false,
        recordPath: job.definition.source.pages ? '' : textOption(format, 'recordPath', ''),
      });
    case 'ndjson':
      return json({ lines: true });
    case 'xml':
      return judged(
        xmlFormat(
          file,
          { recordPath: textOption(format, 'recordPath', ''), encodingDeclared: format['encoding'] !== undefined },
          contract,
        ),
      );
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
        `The format "${format.type}" is not offered yet. Offered: csv, json, ndjson, parquet, xlsx, xml, fixed, mainframe.`,
      );
  }
}

function openObject({ objectPath, objectByteCount, seal, growing = false }: ChildJob): ByteFile {
  if (seal) return openSealedFile(objectPath, sealFrom(seal), { growing });
  return growing ? openGrowingFile(objectPath, objectByteCount) : openPlainFile(objectPath);
}

function judgedReader(
  file: ByteFile,
  format: JudgedFormat,
  { job, contract }: { job: ChildJob; contract: ReadContract | null },
): JudgedReader {
  const modes = new RuleModes(job.definition.contract);
  const { workFolder, since = null } = job;
  return new JudgedReader(file, format, { check: contract?.check ?? null, modes, workFolder, since });
}

function xlsxFormat(format: Readonly<Record<string, unknown>>): XlsxFormat {
  return {
    sheet: textOption(format, 'sheet', '') || null,
    header: format['header'] !== false,
    columns: (format['columns'] as readonly string[] | undefined) ?? null,
    range: textOption(format, 'range', '') || null,
  };
}

function csvFormat(format: Readonly<Record<string, unknown>>, { definition, since }: ChildJob) {
  return {
    // That a database has nothing new is no fault; a file holds what it held before.
    emptyAllowed: definition.source.incremental !== undefined && since === undefined,
    header: format['header'] !== false,
    columns: (format['columns'] as readonly string[] | undefined) ?? null,
    delimiter: textOption(format, 'delimiter', ','),
    quote: format['quote'] === null ? null : textOption(format, 'quote', '"'),
    escape: textOption(format, 'escape', '') || null,
    comment: textOption(format, 'comment', '') || null,
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
