import { FluxError } from '../../errors.ts';
import type { ByteFile } from '../../objects/byte-file.ts';
import type { SplitLimits } from './byte-window.ts';
import { jsonColumns, type RecordColumns } from './columns.ts';
import type { ContractModel } from './contract-model.ts';
import type { RecordWalk } from './decoded-reader.ts';
import { checkText } from './encoding-check.ts';
import { parseRecord } from './json-record.ts';
import { JsonSplitter, JsonStructureError, LineSplitter } from './json-splitter.ts';
import type { JudgedFormat, ReadContract } from './judged-reader.ts';
import { recordByteCountMax } from './limits.ts';
import { showRaw } from './raw-text.ts';
import { SureJson } from '../sure/sure-json.ts';

/** `lines`: NDJSON; otherwise the JSON Pointer of the array of records. */
export type JsonLayout = { lines: true } | { lines: false; recordPath: string };

/** Without a contract a record is one column. */
const wholeRecord: ContractModel = {
  fields: [{ path: [], pointer: '', kind: 'json', nullAllowed: true, required: false, keywords: {} }],
  open: true,
  fallbacks: [],
};

/** The columns of records that are documents, and the leaves that fill them. */
export function documentColumns(contract: ReadContract | null): Pick<JudgedFormat, 'columns' | 'fields'> {
  const model = contract?.model ?? wholeRecord;
  return { fields: model.fields, columns: contract === null ? nameWhole(jsonColumns(model)) : jsonColumns(model) };
}

/** JSON has its own types, so nothing has to be inferred from text. @throws SOURCE_INVALID the file is no text */
export function jsonFormat(file: ByteFile, layout: JsonLayout, contract: ReadContract | null): JudgedFormat {
  const begin = checkText(file, 'JSON');
  const rangeFrom = (start: number): { start: number; end: number } => ({ start, end: file.size });
  return {
    ...documentColumns(contract),
    firstOffset: begin,
    whole() {
      if (layout.lines) {
        requireLineFeeds(file, begin);
        return { walk: lines(file, begin), finish: () => undefined };
      }
      const document = new JsonSplitter(file, rangeFrom(begin));
      const open = document.enter(layout.recordPath);
      return { walk: elements(document, true), finish: () => document.finish(open, layout.recordPath) };
    },
    // A record's own place is behind the comma that a position between records still has in front of it.
    from: (offset, atRecord, blockBytes) =>
      layout.lines
        ? lines(file, offset, { blockBytes })
        : elements(new JsonSplitter(file, rangeFrom(offset), { blockBytes }), atRecord),
    parse: parseRecord,
    show: (bytes) => showRaw(bytes.toString('utf8')),
    sure: (types, rows) => (contract === null ? null : SureJson.of(contract.model, types, rows)),
    sourceError(cause) {
      if (!(cause instanceof JsonStructureError)) return null;
      const message = `${cause.message} (byte ${cause.offset}). Correct the source or source.format.`;
      return new FluxError('SOURCE_INVALID', message, { cause });
    },
  };
}

function nameWhole({ columns, checkRecords }: RecordColumns): RecordColumns {
  return { columns: columns.map((column) => ({ ...column, name: 'record', original: 'record' })), checkRecords };
}

function lines(file: ByteFile, start: number, limits: SplitLimits = {}): RecordWalk {
  const splitter = new LineSplitter(file, { start, end: file.size }, limits);
  return walkOf(splitter, () => {
    const found = splitter.next();
    if (splitter.tooLong)
      throw new JsonStructureError(
        `Expected lines of at most ${recordByteCountMax} bytes, found a longer one`,
        splitter.offset,
      );
    return found;
  });
}

/** A file whose lines end with CR alone is one line to us: its records would be one, or none. */
function requireLineFeeds(file: ByteFile, begin: number): void {
  const head = Buffer.allocUnsafe(65_536);
  const text = head.subarray(0, file.readSync(head, 0, head.length, begin));
  const line = text.subarray(0, text.indexOf(10) === -1 ? text.length : text.indexOf(10));
  const bare = line.indexOf(13);
  if (bare < 1 || bare >= line.length - 1) return;
  // CR is a blank to JSON: it ends a line where what stands before it is a value by itself.
  const before = line.subarray(0, bare);
  if ('issue' in parseRecord(before)) return;
  throw new JsonStructureError(
    'Expected lines that end with LF or CRLF, found a bare CR. Convert the line ends',
    begin + bare,
  );
}

function elements(splitter: JsonSplitter, fromBeginning: boolean): RecordWalk {
  let first = fromBeginning;
  return walkOf(splitter, () => {
    const found = splitter.next(first);
    first = false;
    return found;
  });
}

/** The two splitters look alike from here. */
function walkOf(splitter: Omit<RecordWalk, 'next'>, next: () => boolean): RecordWalk {
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
    next,
  };
}
