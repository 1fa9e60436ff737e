import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { FluxError } from '../../errors.ts';
import type { ByteFile } from '../../objects/byte-file.ts';
import { literal } from '../duckdb/sql-text.ts';
import type { OutputType, RejectedRecord } from '../engine-types.ts';
import type { EvolvedField } from '../evolved-contract.ts';
import { ChunkWriter } from './chunk-writer.ts';
import { csvColumns, plainTextColumns, type RecordColumns } from './columns.ts';
import type { ContractModel } from './contract-model.ts';
import { parseCsvFields, withoutEscapes } from './csv-fields.ts';
import { type CsvDialect, type CsvFault, CsvSplitter } from './csv-splitter.ts';
import type { CopyRows } from '../sure/copy-rows.ts';
import { SureCsv } from '../sure/sure-csv.ts';
import { checkText } from './encoding-check.ts';
import { cell } from './lexical.ts';
import { batchByteCountMax, recordByteCountMax } from './limits.ts';
import { RecordPlaces, showRaw } from './raw-text.ts';
import { type Chunk, glanceBytes, type RangeRequest, type SourceReader, type Survey } from './reader.ts';
import { SurveyMarks } from './survey-marks.ts';

export interface CsvFormat extends CsvDialect {
  header: boolean;
  /** Names in order; with a header they must be the header's. */
  columns: readonly string[] | null;
  /** A header without records is a source too. */
  emptyAllowed?: boolean;
}

/** Reads delimited text: splits it itself and hands DuckDB only what is RFC 4180. */
export class CsvReader implements SourceReader {
  readonly columns: RecordColumns;
  readonly sample: string;
  readonly rawJson = false;
  readonly #file: ByteFile;
  readonly #size: number;
  readonly #format: CsvFormat;
  readonly #names: readonly string[];
  readonly #firstOffset: number;
  readonly #chunkPath: string;
  #splitter: CsvSplitter | null = null;
  /** Which field of the record each column is. */
  #places: readonly (number | undefined)[];
  #sure: SureCsv | null = null;
  #record = 0;
  #offset = 0;
  #endRecord = 0;

  constructor(file: ByteFile, format: CsvFormat, model: ContractModel | null, workFolder: string) {
    this.#file = file;
    this.#size = file.size;
    this.#format = format;
    this.#chunkPath = join(workFolder, 'chunk.csv');
    const begin = checkText(this.#file, 'delimited text');
    const { names, next } = this.#readNames(begin);
    this.#names = names;
    this.#firstOffset = next;
    this.#places = names.map((_name, at) => at);
    this.columns = model === null ? plainTextColumns(names) : this.#matchContract(model);
    const cells = names.map((_name, at) => `null::varchar as ${cell(at)}`);
    this.sample = `select * from (select 0::bigint as _flux_record, ${cells.join(', ')}) where false`;
  }

  get headings(): readonly string[] {
    return this.#names;
  }

  #readNames(begin: number): { names: readonly string[]; next: number } {
    const first = new CsvSplitter(this.#file, { start: begin, end: this.#size }, this.#format);
    if (!first.next())
      throw invalid('The source holds no record, only empty lines or nothing. Expected at least one record.');
    if (first.fault !== null) throw this.#faultyBeginning(first);
    const fields = parseCsvFields(this.#plainRecord(first).toString('utf8'), this.#format);
    if (!this.#format.header)
      return { names: this.#format.columns ?? fields.map((_field, at) => `column_${at + 1}`), next: begin };
    const declared = this.#format.columns;
    if (declared !== null && declared.join('\0') !== fields.join('\0')) {
      throw invalid(
        `Expected the header ${list(declared)}, found ${list(fields)}. Correct source.format.columns or the source.`,
      );
    }
    const twice = fields.find((name, at) => fields.indexOf(name) !== at);
    if (twice !== undefined) throw invalid(`The header names "${twice}" twice. Names must differ; correct the source.`);
    const nameless = fields.findIndex((name) => name.trim() === '');
    if (nameless !== -1)
      throw invalid(
        `The header leaves column ${nameless + 1} without a name. Correct the source, or set header to false.`,
      );
    return { names: fields, next: first.nextOffset };
  }

  /** The record as DuckDB is to read it. */
  #plainRecord({ buffer, start, end }: CsvSplitter): Buffer {
    return withoutEscapes(buffer.subarray(start, end), this.#format);
  }

  #faultyBeginning(first: CsvSplitter): FluxError {
    if (first.fault === 'carriage-return') {
      return invalid(
        `Expected lines that end with LF or CRLF, found a bare CR at byte ${first.faultOffset}. Convert the line ends.`,
      );
    }
    return invalid(
      `The first line cannot be read: ${faultMessage(first, null)} (byte ${first.faultOffset}). Correct the source or source.format.`,
    );
  }

  #matchContract(model: ContractModel): RecordColumns {
    const places = new Map(this.#names.map((name, at) => [name, at]));
    const placeOf = (path: readonly string[]): number | undefined =>
      places.get(path.join('.')) ?? places.get(path.join('_'));
    const missing = model.fields.filter((field) => field.required && placeOf(field.path) === undefined);
    if (missing.length > 0) {
      const names = list(missing.map((field) => field.path.join('.')));
      throw invalid(
        `The contract requires ${names}, which the header does not name. Found: ${list(this.#names)}. Correct the contract or the source.`,
      );
    }
    const known = new Set(model.fields.map((field) => placeOf(field.path)));
    const unknown = this.#names.filter((_name, at) => !known.has(at));
    if (unknown.length > 0 && !model.open) {
      throw invalid(
        `The header names ${list(unknown)}, which the contract does not allow (additionalProperties). Correct the contract or the source.`,
      );
    }
    this.#places = model.fields.map((field) => placeOf(field.path));
    if (this.#format.header && model.fields.length > 0 && this.#places.every((place) => place === undefined)) {
      throw invalid(
        `The header names no field of the contract. Expected some of ${list(model.fields.map(({ path }) => path.join('.')))}, found ${list(this.#names)}. ` +
          'Correct source.format (delimiter, header) or the source.',
      );
    }
    return csvColumns(model, (field) => {
      const at = placeOf(field.path);
      return at === undefined ? null : cell(at);
    });
  }

  discover(known: readonly string[]): Promise<EvolvedField[]> {
    const found = this.#names.filter((name) => !known.includes(name));
    return Promise.resolve(found.map((name) => ({ name, schema: { type: ['string', 'null'] } })));
  }

  beSure(types: readonly OutputType[], rows: CopyRows): void {
    const { delimiter, quote, escape = null, comment = null } = this.#format;
    if (escape !== null) return;
    const dialect = { fieldCount: this.#names.length, delimiter, quote, comment };
    this.#sure = SureCsv.of(this.columns, this.#places, { dialect, types, rows });
  }

  survey(markEvery: number): Promise<Survey> {
    const splitter = new CsvSplitter(this.#file, { start: this.#firstOffset, end: this.#size }, this.#format);
    const marks = new SurveyMarks(markEvery);
    let record = 0;
    let notUtf8: { offset: number; record: number } | null = null;
    for (;;) {
      // A mark is a record's own place, which only `next` tells.
      if (!marks.wants(record)) record += splitter.skip(marks.untilNext(record));
      if (!splitter.next()) break;
      if (marks.wants(record)) marks.add({ offset: splitter.offset, record }, record);
      record += 1;
      this.#refuseEndless(splitter, record);
      if (splitter.fault === 'encoding') notUtf8 ??= { offset: splitter.faultOffset, record };
    }
    if (notUtf8 !== null && !splitter.seenMultibyte) {
      // Some damaged records are rejected one by one; a file without any valid sequence is in another encoding.
      throw invalid(
        `Expected UTF-8, found another encoding: byte ${notUtf8.offset} (record ${notUtf8.record}) is not UTF-8, and nothing else beyond ` +
          'ASCII is either. Convert the source to UTF-8.',
      );
    }
    if (record === 0) {
      if (!this.#format.emptyAllowed) {
        throw invalid('The source holds a header and no record. Expected at least one record.');
      }
      marks.add({ offset: this.#firstOffset, record }, record);
    }
    return Promise.resolve(marks.survey(record));
  }

  /** What comes after such a record was swallowed by it, so that no count would be true. */
  #refuseEndless(splitter: CsvSplitter, record: number): void {
    if (splitter.fault === 'unterminated') {
      throw invalid(
        `Record ${record} opens a quote at byte ${splitter.faultOffset} that never closes. Correct the source.`,
      );
    }
    if (splitter.fault === 'length') {
      throw invalid(
        `Record ${record} at byte ${splitter.faultOffset} is longer than ${recordByteCountMax} bytes. A line end or a closing quote may be missing; correct the source.`,
      );
    }
  }

  start({ from, records, glance = false }: RangeRequest): Promise<void> {
    const offset = Math.max(from['offset'] ?? 0, this.#firstOffset);
    this.#record = from['record'] ?? 0;
    this.#offset = offset;
    this.#endRecord = this.#record + records;
    const limits = glance ? { blockBytes: glanceBytes } : {};
    this.#splitter = new CsvSplitter(this.#file, { start: offset, end: this.#size }, this.#format, limits);
    return Promise.resolve();
  }

  next(records: number): Promise<Chunk> {
    const splitter = this.#splitter as CsvSplitter;
    const first = this.#record;
    const wanted = Math.min(records, this.#endRecord - first);
    const places = new RecordPlaces(this.#file, first + 1, wanted);
    const chunk = new ChunkWriter(this.#chunkPath, this.#format.delimiter);
    const unreadable: RejectedRecord[] = [];
    const from = this.#offset;
    const sure = this.#sure;
    const escapes = (this.#format.escape ?? null) !== null;
    while (places.count < wanted && splitter.nextOffset - from < batchByteCountMax) {
      const recordNo = first + places.count + 1;
      if (sure?.take(recordNo, splitter) === true) {
        places.add(splitter.offset, splitter.end - splitter.start);
        continue;
      }
      if (!splitter.next()) break;
      this.#refuseEndless(splitter, recordNo);
      places.add(splitter.offset, splitter.end - splitter.start);
      if (splitter.fault === null && splitter.fieldCount === this.#names.length) {
        if (escapes) {
          const record = this.#plainRecord(splitter);
          chunk.addBytes(recordNo, record, 0, record.length);
        } else chunk.addBytes(recordNo, splitter.buffer, splitter.start, splitter.end);
      } else {
        unreadable.push(this.#reject(splitter, recordNo));
      }
    }
    chunk.close();
    this.#record += places.count;
    this.#offset = splitter.nextOffset;
    if (places.count < wanted && this.#offset - from < batchByteCountMax && this.#offset >= this.#size)
      this.#endRecord = this.#record;
    return Promise.resolve({
      relation: this.#relation(chunk),
      rowCount: chunk.recordCount,
      sure: sure?.rows.finish() ?? null,
      recordsRead: places.count,
      bytesRead: this.#offset - from,
      firstRecord: places.count === 0 ? null : first + 1,
      lastRecord: places.count === 0 ? null : this.#record,
      unreadable,
      refused: [],
      next: { offset: this.#offset, record: this.#record },
      last: this.#record >= this.#endRecord,
      rawOf: (recordNo) => places.rawOf(recordNo),
    });
  }

  #reject(splitter: CsvSplitter, recordNo: number): RejectedRecord {
    const rule = splitter.fault ?? 'fields';
    return {
      recordNo,
      byteOffset: splitter.offset,
      reasons: [{ path: '', rule, message: faultMessage(splitter, this.#names.length) }],
      raw: showRaw(splitter.buffer.toString('utf8', splitter.start, splitter.end)),
    };
  }

  #relation(chunk: ChunkWriter): string {
    return readDelimited(chunk, this.#names.length, this.#format, { emptyTextIsNull: true });
  }

  close(): void {
    this.#file.close();
    rmSync(this.#chunkPath, { force: true });
  }
}

/** Every option is stated, because DuckDB guesses the others from what each chunk happens to hold. */
export function readDelimited(
  chunk: Pick<ChunkWriter, 'path' | 'longest'>,
  cellCount: number,
  dialect: CsvDialect,
  { emptyTextIsNull }: { emptyTextIsNull: boolean },
): string {
  const cells = Array.from({ length: cellCount }, (_each, at) => `'_flux_c${at}': 'VARCHAR'`);
  const quote = literal(dialect.quote ?? '');
  const lineBytes = Math.max(2_097_152, chunk.longest + 1024);
  return `select * from read_csv(${literal(chunk.path)}, columns = {'_flux_record': 'BIGINT', ${cells.join(', ')}},
    auto_detect = false, header = false, delim = ${literal(dialect.delimiter)}, quote = ${quote}, escape = ${quote}, new_line = '\\n',
    nullstr = '', allow_quoted_nulls = ${emptyTextIsNull}, strict_mode = true, max_line_size = ${lineBytes}, compression = 'none')`;
}

const faultMessages: Readonly<Record<Exclude<CsvFault, 'fields'>, string>> = {
  quote: 'must quote by RFC 4180, and holds a quote in the middle of a field',
  'carriage-return': 'must end with LF or CRLF, and holds a bare CR outside quotes',
  nul: 'must be text, and holds a NUL byte',
  encoding: 'must be UTF-8, and holds other bytes',
  unterminated: 'opens a quote that never closes',
  length: 'is too long',
};

function faultMessage(splitter: CsvSplitter, expected: number | null): string {
  const { fault } = splitter;
  if (fault === null || fault === 'fields') return `must have ${expected ?? 0} fields, found ${splitter.fieldCount}`;
  return `${faultMessages[fault]} (byte ${splitter.faultOffset})`;
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, 20).map((name) => `"${name}"`);
  return names.length > 20 ? `${shown.join(', ')} and ${names.length - 20} more` : shown.join(', ');
}

function invalid(message: string): FluxError {
  return new FluxError('SOURCE_INVALID', message);
}
