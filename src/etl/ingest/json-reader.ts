import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { RecordCheck } from '../../contracts/contract.ts';
import { FluxError, type Issue } from '../../errors.ts';
import type { ByteFile } from '../../objects/byte-file.ts';
import type { RejectedRecord } from '../engine-types.ts';
import { ChunkWriter } from './chunk-writer.ts';
import { jsonColumns, type RecordColumns } from './columns.ts';
import type { ContractField, ContractModel } from './contract-model.ts';
import { readDelimited } from './csv-reader.ts';
import { checkText } from './encoding-check.ts';
import { cellsOf, depthOf, parseRecord } from './json-record.ts';
import { JsonSplitter, JsonStructureError, LineSplitter } from './json-splitter.ts';
import { cell } from './lexical.ts';
import { batchByteCountMax, reasonCountMax, recordByteCountMax } from './limits.ts';
import { RecordPlaces, showRaw } from './raw-text.ts';
import { DroppedCounts, mendRecord, RuleModes } from './rule-modes.ts';
import type { Chunk, Position, RangeRequest, SourceReader, Survey } from './reader.ts';

/** `lines`: NDJSON; otherwise the JSON Pointer of the array of records. */
export type JsonLayout = { lines: true } | { lines: false; recordPath: string };

/** The two splitters look alike from here. */
interface RecordWalk {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  readonly offset: number;
  readonly nextOffset: number;
  next(): boolean;
}

/** Without a contract a record is one column. */
const wholeRecord: ContractModel = {
  fields: [{ path: [], pointer: '', kind: 'json', nullAllowed: true, required: false, keywords: {} }],
  open: true,
  fallbacks: [],
};

/**
 * Reads JSON. Each record is parsed here and goes through Ajv as a whole, since JSON has its own types and nothing has to be
 * inferred from text; the leaves then go to DuckDB like cells of a delimited file.
 */
export class JsonReader implements SourceReader {
  readonly columns: RecordColumns;
  readonly sample: string;
  readonly rawJson = false;
  readonly #file: ByteFile;
  readonly #size: number;
  readonly #layout: JsonLayout;
  readonly #begin: number;
  readonly #fields: readonly ContractField[];
  readonly #check: RecordCheck;
  readonly #modes: RuleModes;
  readonly #dropped = new DroppedCounts();
  readonly #chunkPath: string;
  #walk: RecordWalk | null = null;
  #record = 0;
  #offset = 0;
  #endRecord = 0;

  constructor(
    file: ByteFile,
    layout: JsonLayout,
    contract: { model: ContractModel; check: RecordCheck } | null,
    workFolder: string,
    modes = new RuleModes(null),
  ) {
    this.#file = file;
    this.#size = file.size;
    this.#layout = layout;
    this.#chunkPath = join(workFolder, 'chunk.csv');
    this.#begin = checkText(this.#file, 'JSON');
    const model = contract?.model ?? wholeRecord;
    this.#fields = model.fields;
    this.#check = contract?.check ?? (() => []);
    this.#modes = modes;
    this.columns = contract === null ? nameWhole(jsonColumns(model)) : jsonColumns(model);
    const cells = this.#fields.map((_field, at) => `null::varchar as ${cell(at)}`);
    this.sample = `select * from (select 0::bigint as _flux_record, ${cells.join(', ')}) where false`;
  }

  survey(markEvery: number): Promise<Survey> {
    return Promise.resolve(
      sourceErrors(() => {
        const range = { start: this.#begin, end: this.#size };
        const document = this.#layout.lines ? null : new JsonSplitter(this.#file, range);
        const open = this.#layout.lines ? 0 : (document?.enter(this.#layout.recordPath) ?? 0);
        const walk = document === null ? this.#lines(range.start) : elements(document, true);
        const marks: { position: Position; record: number }[] = [];
        let record = 0;
        for (let from = walk.nextOffset; walk.next(); from = walk.nextOffset) {
          if (record % markEvery === 0) marks.push({ position: { offset: from, record }, record });
          record += 1;
        }
        document?.finish(open);
        if (record === 0) throw new FluxError('SOURCE_INVALID', 'The source holds no record. Expected at least one.');
        return { recordsTotal: record, marks };
      }),
    );
  }

  #lines(start: number): RecordWalk {
    const splitter = new LineSplitter(this.#file, { start, end: this.#size });
    return {
      get buffer() {
        return splitter.buffer;
      },
      get start() {
        return splitter.start;
      },
      get end() {
        return splitter.end;
      },
      get offset() {
        return splitter.offset;
      },
      get nextOffset() {
        return splitter.nextOffset;
      },
      next() {
        const found = splitter.next();
        if (splitter.tooLong)
          throw new JsonStructureError(
            `Expected lines of at most ${recordByteCountMax} bytes, found a longer one`,
            splitter.offset,
          );
        return found;
      },
    };
  }

  start({ from, records }: RangeRequest): Promise<void> {
    this.#record = from['record'] ?? 0;
    this.#endRecord = this.#record + records;
    this.#offset = from['offset'] ?? this.#begin;
    const range = { start: this.#offset, end: this.#size };
    // A record's own place is behind the comma that a position between records still has in front of it.
    const atRecord = from['exact'] === 1;
    this.#walk = this.#layout.lines
      ? this.#lines(this.#offset)
      : elements(new JsonSplitter(this.#file, range), atRecord);
    return Promise.resolve();
  }

  next(records: number): Promise<Chunk> {
    return Promise.resolve(sourceErrors(() => this.#next(records)));
  }

  #next(records: number): Chunk {
    const walk = this.#walk as RecordWalk;
    const first = this.#record;
    const wanted = Math.min(records, this.#endRecord - first);
    const places = new RecordPlaces(this.#file, first + 1, wanted);
    const chunk = new ChunkWriter(this.#chunkPath, ',');
    const unreadable: RejectedRecord[] = [];
    const refused: RejectedRecord[] = [];
    const from = this.#offset;
    while (places.count < wanted && walk.nextOffset - from < batchByteCountMax && walk.next()) {
      const recordNo = first + places.count + 1;
      places.add(walk.offset, walk.end - walk.start);
      const bytes = walk.buffer.subarray(walk.start, walk.end);
      const verdict = this.#judge(bytes);
      if ('cells' in verdict) chunk.addCells(recordNo, verdict.cells);
      else {
        const rejected = {
          recordNo,
          byteOffset: walk.offset,
          reasons: verdict.issues,
          raw: showRaw(bytes.toString('utf8')),
        };
        (verdict.unreadable ? unreadable : refused).push(rejected);
      }
    }
    chunk.close();
    this.#record += places.count;
    this.#offset = walk.nextOffset;
    return {
      relation: readDelimited(chunk, this.#fields.length, { delimiter: ',', quote: '"' }, { emptyTextIsNull: false }),
      rowCount: chunk.recordCount,
      recordsRead: places.count,
      bytesRead: this.#offset - from,
      firstRecord: places.count === 0 ? null : first + 1,
      lastRecord: places.count === 0 ? null : this.#record,
      unreadable,
      refused,
      dropped: this.#dropped.take(),
      next: { offset: this.#offset, record: this.#record },
      last: this.#record >= this.#endRecord,
      rawOf: (recordNo) => places.rawOf(recordNo),
    };
  }

  #judge(bytes: Buffer): { cells: (string | null)[] } | { issues: Issue[]; unreadable: boolean } {
    const parsed = parseRecord(bytes, depthOf(bytes));
    if ('issue' in parsed) return { issues: [parsed.issue], unreadable: true };
    const issues = this.#check(parsed.value);
    const mended =
      issues.length === 0
        ? null
        : mendRecord(parsed.value, issues, { modes: this.#modes, fields: this.#fields, check: this.#check });
    if (issues.length > 0 && mended === null) return { issues: issues.slice(0, reasonCountMax), unreadable: false };
    const taken = cellsOf(this.#fields, parsed, mended?.pointers);
    if (!('cells' in taken)) return { issues: taken.issues, unreadable: false };
    for (const rule of mended?.rules ?? []) this.#dropped.add(rule);
    return taken;
  }

  close(): void {
    this.#file.close();
    rmSync(this.#chunkPath, { force: true });
  }
}

function nameWhole({ columns, checkRecords }: RecordColumns): RecordColumns {
  return { columns: columns.map((column) => ({ ...column, name: 'record', original: 'record' })), checkRecords };
}

function elements(splitter: JsonSplitter, fromBeginning: boolean): RecordWalk {
  let first = fromBeginning;
  return {
    get buffer() {
      return splitter.buffer;
    },
    get start() {
      return splitter.start;
    },
    get end() {
      return splitter.end;
    },
    get offset() {
      return splitter.offset;
    },
    get nextOffset() {
      return splitter.nextOffset;
    },
    next() {
      const found = splitter.next(first);
      first = false;
      return found;
    },
  };
}

function sourceErrors<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof JsonStructureError)) throw cause;
    throw new FluxError(
      'SOURCE_INVALID',
      `${cause.message} (byte ${cause.offset}). Correct the source or source.format.`,
      { cause },
    );
  }
}
