import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Issue } from '../../errors.ts';
import { FluxError } from '../../errors.ts';
import type { ByteFile } from '../../objects/byte-file.ts';
import type { RejectedRecord } from '../engine-types.ts';
import type { RecordColumns } from './columns.ts';
import { readDelimited } from './csv-reader.ts';
import { cell } from './lexical.ts';
import { batchByteCountMax, reasonCountMax } from './limits.ts';
import { type Chunk, glanceBytes, type RangeRequest, type SourceReader, type Survey } from './reader.ts';
import { RowWriter } from './row-writer.ts';
import { SurveyMarks } from './survey-marks.ts';

/** Goes from record to record. After `next` gave true, the record is `buffer[start, end)`. */
export interface RecordWalk {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  /** Where the record begins in the file, with what is in front of its data. */
  readonly offset: number;
  /** Where the next one begins. */
  readonly nextOffset: number;
  /** @throws SOURCE_INVALID no record can be told apart from here on */
  next(): boolean;
  /** Where a byte of `buffer` stands in the file; absent: the record lies there in one piece. */
  placeOf?(at: number): number;
}

/** A place in the file, and the number of records before it. */
export interface WalkStart {
  offset: number;
  record: number;
}

/** One record is read again, to be shown. */
const oneRecordBlockBytes = 65_536;

/** What a format adds to reading records by their places. */
export interface PlacedFormat {
  readonly columns: RecordColumns;
  readonly cellCount: number;
  /** Where the first record begins. */
  readonly firstOffset: number;
  /** @param blockBytes how much to read at once */
  walk(from: WalkStart, blockBytes?: number): RecordWalk;
  /** Appends the record's cells, each behind a separator. @returns null, or why the source holds no record there */
  decode(walk: RecordWalk, row: RowWriter): Issue[] | null;
  /** The most bytes that a row of such a record takes. */
  rowBytesMax(byteCount: number): number;
  /** A record in words for people, from its own bytes. */
  show(bytes: Buffer): string;
  /** Marks without reading, where places can be computed; null: walk. */
  survey(markEvery: number): Survey | null;
}

/** Reads records whose fields have places in bytes, and hands DuckDB their cells. */
export class DecodedReader implements SourceReader {
  readonly columns: RecordColumns;
  readonly sample: string;
  readonly rawJson = false;
  readonly #file: ByteFile;
  readonly #format: PlacedFormat;
  readonly #chunkPath: string;
  #walk: RecordWalk | null = null;
  #record = 0;
  #offset = 0;
  #endRecord = 0;

  constructor(file: ByteFile, format: PlacedFormat, workFolder: string) {
    this.#file = file;
    this.#format = format;
    this.#chunkPath = join(workFolder, 'chunk.csv');
    this.columns = format.columns;
    const cells = Array.from({ length: format.cellCount }, (_each, at) => `null::varchar as ${cell(at)}`);
    this.sample = `select * from (select 0::bigint as _flux_record, ${cells.join(', ')}) where false`;
  }

  survey(markEvery: number): Promise<Survey> {
    const computed = this.#format.survey(markEvery);
    if (computed !== null) return Promise.resolve(computed);
    const walk = this.#format.walk({ offset: this.#format.firstOffset, record: 0 });
    const marks = new SurveyMarks(markEvery);
    let record = 0;
    while (walk.next()) {
      if (marks.wants(record)) marks.add({ offset: walk.offset, record }, record);
      record += 1;
    }
    if (record === 0) throw new FluxError('SOURCE_INVALID', 'The source holds no record. Expected at least one.');
    return Promise.resolve(marks.survey(record));
  }

  start({ from, records, glance = false }: RangeRequest): Promise<void> {
    this.#record = from['record'] ?? 0;
    this.#offset = Math.max(from['offset'] ?? 0, this.#format.firstOffset);
    this.#endRecord = this.#record + records;
    const blockBytes = glance ? glanceBytes : undefined;
    this.#walk = this.#format.walk({ offset: this.#offset, record: this.#record }, blockBytes);
    return Promise.resolve();
  }

  next(records: number): Promise<Chunk> {
    const walk = this.#walk as RecordWalk;
    const first = this.#record;
    const from = this.#offset;
    const wanted = Math.min(records, this.#endRecord - first);
    const offsets = new Float64Array(wanted + 1);
    const row = new RowWriter(this.#chunkPath);
    const unreadable: RejectedRecord[] = [];
    let count = 0;
    while (count < wanted && this.#offset - from < batchByteCountMax && walk.next()) {
      count += 1;
      offsets[count - 1] = walk.offset;
      this.#offset = walk.nextOffset;
      row.begin(first + count, this.#format.rowBytesMax(walk.end - walk.start));
      const issues = this.#format.decode(walk, row);
      if (issues === null) row.end();
      else {
        row.takeBack();
        const raw = this.#format.show(walk.buffer.subarray(walk.start, walk.end));
        unreadable.push({
          recordNo: first + count,
          byteOffset: walk.offset,
          reasons: issues.slice(0, reasonCountMax),
          raw,
        });
      }
    }
    row.close();
    this.#record += count;
    return Promise.resolve({
      relation: readDelimited(row, this.#format.cellCount, { delimiter: ',', quote: '"' }, { emptyTextIsNull: false }),
      rowCount: row.recordCount,
      recordsRead: count,
      bytesRead: this.#offset - from,
      firstRecord: count === 0 ? null : first + 1,
      lastRecord: count === 0 ? null : this.#record,
      unreadable,
      refused: [],
      next: { offset: this.#offset, record: this.#record },
      last: this.#record >= this.#endRecord,
      rawOf: (recordNo) => this.#rawOf(recordNo, offsets[recordNo - first - 1]),
    });
  }

  close(): void {
    this.#file.close();
    rmSync(this.#chunkPath, { force: true });
  }

  #rawOf(recordNo: number, byteOffset: number | undefined): { raw: string | null; byteOffset: number | null } {
    if (byteOffset === undefined) return { raw: null, byteOffset: null };
    const walk = this.#format.walk({ offset: byteOffset, record: recordNo - 1 }, oneRecordBlockBytes);
    walk.next();
    return { raw: this.#format.show(walk.buffer.subarray(walk.start, walk.end)), byteOffset };
  }
}
