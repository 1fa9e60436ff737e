import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { RecordCheck } from '../../contracts/contract.ts';
import { FluxError, type Issue } from '../../errors.ts';
import type { ByteFile } from '../../objects/byte-file.ts';
import type { OutputType, RejectedRecord, Since } from '../engine-types.ts';
import type { EvolvedField } from '../evolved-contract.ts';
import { ChunkWriter } from './chunk-writer.ts';
import type { RecordColumns } from './columns.ts';
import type { ContractField, ContractModel } from './contract-model.ts';
import { readDelimited } from './csv-reader.ts';
import type { RecordWalk } from './decoded-reader.ts';
import { FoundTypes } from './found-types.ts';
import { cellsOf, type ParsedRecord } from './json-record.ts';
import { cell } from './lexical.ts';
import { batchByteCountMax, reasonCountMax } from './limits.ts';
import { surelyPassed } from './passed-over.ts';
import { RecordPlaces } from './raw-text.ts';
import { DroppedCounts, mendRecord, type RuleModes } from './rule-modes.ts';
import type { CopyRows } from '../sure/copy-rows.ts';
import type { SureJson } from '../sure/sure-json.ts';
import { type Chunk, glanceBytes, type RangeRequest, type SourceReader, type Survey } from './reader.ts';
import { SurveyMarks } from './survey-marks.ts';

export interface ReadContract {
  model: ContractModel;
  check: RecordCheck;
}

/** What a format adds to reading records that are judged one by one. Its walks and `inWords` may throw what `sourceError` names. */
export interface JudgedFormat {
  readonly columns: RecordColumns;
  readonly fields: readonly ContractField[];
  /** Where the first record may begin. */
  readonly firstOffset: number;
  /** From the beginning to the end. `finish` reads what comes behind the last record, and checks it. */
  whole(): { walk: RecordWalk; finish(): void };
  /** @param atRecord the offset is a record's own, not where the one before it ends @param blockBytes how much to read at once */
  from(offset: number, atRecord: boolean, blockBytes?: number): RecordWalk;
  /** @param bytes one record */
  parse(bytes: Buffer): ParsedRecord;
  /** A record as people see it. */
  show(bytes: Buffer): string;
  /** A fault of the whole source in its own words; null: it is another one. */
  sourceError(cause: unknown): FluxError | null;
  /** Bytes of the source that stand for what comes before an offset; the offset itself when absent. */
  bytesBefore?(offset: number): number;
  /** Judges records that are written plainly, by their bytes; null: none is ever sure. @param types of the columns */
  sure?(types: readonly OutputType[], rows: CopyRows): SureJson | null;
  /** Lets go of what the format holds beside its file. */
  close?(): void;
}

/**
 * Reads records that have types of their own: each is parsed here and goes through Ajv as a whole, and its leaves then go to DuckDB
 * like cells of a delimited file.
 */
export class JudgedReader implements SourceReader {
  readonly columns: RecordColumns;
  readonly sample: string;
  readonly rawJson = false;
  readonly #file: ByteFile;
  readonly #format: JudgedFormat;
  readonly #check: RecordCheck;
  readonly #modes: RuleModes;
  readonly #since: Since | null;
  readonly #dropped = new DroppedCounts();
  readonly #chunkPath: string;
  #walk: RecordWalk | null = null;
  #sure: SureJson | null = null;
  #record = 0;
  #offset = 0;
  #endRecord = 0;

  /** @param check null: every record will do */
  constructor(
    file: ByteFile,
    format: JudgedFormat,
    {
      check,
      modes,
      workFolder,
      since = null,
    }: { check: RecordCheck | null; modes: RuleModes; workFolder: string; since?: Since | null },
  ) {
    this.#file = file;
    this.#format = format;
    this.#chunkPath = join(workFolder, 'chunk.csv');
    this.#check = check ?? (() => []);
    this.#modes = modes;
    this.#since = since;
    this.columns = format.columns;
    const cells = format.fields.map((_field, at) => `null::varchar as ${cell(at)}`);
    this.sample = `select * from (select 0::bigint as _flux_record, ${cells.join(', ')}) where false`;
  }

  beSure(types: readonly OutputType[], rows: CopyRows): void {
    this.#sure = this.#format.sure?.(types, rows) ?? null;
  }

  discover(known: readonly string[]): Promise<EvolvedField[]> {
    return this.#named(() => {
      const found = new FoundTypes(known);
      const { walk, finish } = this.#format.whole();
      while (walk.next()) {
        const parsed = this.#format.parse(walk.buffer.subarray(walk.start, walk.end));
        if ('value' in parsed) found.add(parsed.value);
      }
      finish();
      return found.fields;
    });
  }

  survey(markEvery: number): Promise<Survey> {
    return this.#named(() => {
      const { walk, finish } = this.#format.whole();
      const marks = new SurveyMarks(markEvery);
      let record = 0;
      for (let from = walk.nextOffset; walk.next(); from = walk.nextOffset) {
        if (marks.wants(record)) marks.add({ offset: from, record }, record);
        record += 1;
      }
      finish();
      if (record === 0) throw new FluxError('SOURCE_INVALID', 'The source holds no record. Expected at least one.');
      return marks.survey(record);
    });
  }

  start({ from, records, glance = false }: RangeRequest): Promise<void> {
    return this.#named(() => {
      this.#record = from['record'] ?? 0;
      this.#endRecord = this.#record + records;
      this.#offset = Math.max(from['offset'] ?? 0, this.#format.firstOffset);
      this.#walk = this.#format.from(this.#offset, from['exact'] === 1, glance ? glanceBytes : undefined);
    });
  }

  next(records: number): Promise<Chunk> {
    return this.#named(() => this.#next(records));
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
    const sure = this.#sure;
    let passed = 0;
    while (places.count < wanted && walk.nextOffset - from < batchByteCountMax && walk.next()) {
      const recordNo = first + places.count + 1;
      places.add(walk.offset, walk.end - walk.start);
      if (sure?.take(recordNo, walk.buffer, walk.start, walk.end) === true) continue;
      const bytes = walk.buffer.subarray(walk.start, walk.end);
      const verdict = this.#judge(bytes);
      if ('cells' in verdict) chunk.addCells(recordNo, verdict.cells);
      else if (verdict.passed) passed += 1;
      else {
        const raw = this.#format.show(bytes);
        const rejected = { recordNo, byteOffset: walk.offset, reasons: verdict.issues, raw };
        (verdict.unreadable ? unreadable : refused).push(rejected);
      }
    }
    chunk.close();
    this.#record += places.count;
    this.#offset = walk.nextOffset;
    const cellCount = this.#format.fields.length;
    return {
      relation: readDelimited(chunk, cellCount, { delimiter: ',', quote: '"' }, { emptyTextIsNull: false }),
      rowCount: chunk.recordCount,
      sure: sure?.rows.finish() ?? null,
      recordsRead: places.count,
      bytesRead: this.#bytesBefore(this.#offset) - this.#bytesBefore(from),
      firstRecord: places.count === 0 ? null : first + 1,
      lastRecord: places.count === 0 ? null : this.#record,
      unreadable,
      refused,
      passed,
      dropped: this.#dropped.take(),
      next: { offset: this.#offset, record: this.#record },
      last: this.#record >= this.#endRecord,
      rawOf: (recordNo) => {
        const place = places.placeOf(recordNo);
        if (place === null) return { raw: null, byteOffset: null };
        return { raw: this.#format.show(places.read(place)), byteOffset: place.offset };
      },
    };
  }

  #judge(bytes: Buffer): { cells: (string | null)[] } | { issues: Issue[]; unreadable: boolean; passed: boolean } {
    const { fields } = this.#format;
    const parsed = this.#format.parse(bytes);
    if ('issue' in parsed) return { issues: [parsed.issue], unreadable: true, passed: false };
    const issues = this.#check(parsed.value);
    const mended =
      issues.length === 0 ? null : mendRecord(parsed.value, issues, { modes: this.#modes, fields, check: this.#check });
    if (issues.length > 0 && mended === null) {
      return { issues: issues.slice(0, reasonCountMax), unreadable: false, passed: this.#isPassed(parsed.value) };
    }
    const taken = cellsOf(fields, parsed, mended?.pointers);
    if (!('cells' in taken)) {
      return { issues: taken.issues, unreadable: false, passed: this.#isPassed(parsed.value) };
    }
    for (const rule of mended?.rules ?? []) this.#dropped.add(rule);
    return taken;
  }

  /** Whether an earlier run has refused the record already. */
  #isPassed(record: unknown): boolean {
    const { cursor, after } = this.#since ?? { cursor: '', after: null };
    if (after === null || typeof record !== 'object' || record === null) return false;
    return surelyPassed((record as Record<string, unknown>)[cursor], after);
  }

  close(): void {
    this.#format.close?.();
    this.#file.close();
    rmSync(this.#chunkPath, { force: true });
  }

  #bytesBefore(offset: number): number {
    return this.#format.bytesBefore?.(offset) ?? offset;
  }

  async #named<T>(work: () => T): Promise<T> {
    try {
      return await Promise.resolve(work());
    } catch (cause) {
      throw this.#format.sourceError(cause) ?? cause;
    }
  }
}
