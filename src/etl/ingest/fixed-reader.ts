import { isAscii, isUtf8 } from 'node:buffer';
import type { Issue } from '../../errors.ts';
import { FluxError } from '../../errors.ts';
import type { ByteFile } from '../../objects/byte-file.ts';
import { csvColumns, plainTextColumns, type RecordColumns } from './columns.ts';
import type { ContractModel } from './contract-model.ts';
import { DecodedReader, type RecordWalk } from './decoded-reader.ts';
import { checkText } from './encoding-check.ts';
import { cell } from './lexical.ts';
import { showRaw } from './raw-text.ts';
import { FixedLengthWalk, LineWalk, surveyFixedLength } from './record-walks.ts';
import type { RowWriter } from './row-writer.ts';

/** `source.format` of type fixed. */
export interface FixedFormat {
  /** Places in characters, `start` from 1. */
  columns: readonly { name: string; start: number; length: number }[];
  /** Bytes of a record where no line ends come between; null: each line is a record. */
  recordLength: number | null;
}

const space = 32;

/**
 * Reads text whose columns have places in the record. Blanks at a text's end are padding; around a number or a date at both
 * ends. A cell of nothing else is absent. A record that ends before its last column does is rejected, not completed.
 */
export function openFixedReader(
  file: ByteFile,
  format: FixedFormat,
  model: ContractModel | null,
  workFolder: string,
): DecodedReader {
  checkPlaces(format);
  const columns = matchContract(format, model);
  const cells = new CellCutter(format, model);
  const firstOffset = checkText(file, 'fixed-width text');
  const length = format.recordLength;
  if (length === null) requireLineFeeds(file, firstOffset);
  const placed = {
    columns,
    cellCount: format.columns.length,
    firstOffset,
    walk: (from: { offset: number; record: number }, blockBytes?: number) =>
      length === null ? new LineWalk(file, from, blockBytes) : new FixedLengthWalk(file, from, { length, blockBytes }),
    decode: cells.cut.bind(cells),
    // Columns may overlap, so that each could be the whole record.
    rowBytesMax: (byteCount: number) =>
      format.columns.reduce((sum, column) => sum + Math.min(column.length * 4, byteCount) * 2 + 4, 64),
    show: (bytes: Buffer) => showRaw(bytes.toString('utf8')),
    survey: (markEvery: number) =>
      length === null ? null : surveyFixedLength({ size: file.size, firstOffset, length }, markEvery),
  };
  return new DecodedReader(file, placed, workFolder);
}

/** A file whose lines end with CR alone is one line to us. @throws SOURCE_INVALID */
function requireLineFeeds(file: ByteFile, begin: number): void {
  const head = Buffer.allocUnsafe(65_536);
  const text = head.subarray(0, file.readSync(head, 0, head.length, begin));
  const bare = text.indexOf(13);
  if (bare === -1 || bare + 1 === text.length || text[bare + 1] === 10) return;
  // Behind a line that ends as it should it is its record's fault.
  const feed = text.indexOf(10);
  if (feed !== -1 && feed < bare) return;
  throw new FluxError(
    'SOURCE_INVALID',
    `Expected lines that end with LF or CRLF, found a bare CR at byte ${begin + bare}. Convert the line ends.`,
  );
}

class CellCutter {
  readonly #starts: readonly number[];
  readonly #ends: readonly number[];
  /** Blanks before the value are padding too. */
  readonly #trimsStart: readonly boolean[];
  readonly #lengthMin: number;
  readonly #inLines: boolean;

  constructor({ columns, recordLength }: FixedFormat, model: ContractModel | null) {
    this.#starts = columns.map(({ start }) => start - 1);
    this.#ends = columns.map(({ start, length }) => start - 1 + length);
    this.#lengthMin = Math.max(...this.#ends);
    this.#inLines = recordLength === null;
    const kinds = new Map(
      model?.fields.map(({ path, kind, keywords }) => [path.join('.'), { kind, format: keywords.format }]),
    );
    this.#trimsStart = columns.map(({ name }) => {
      const known = kinds.get(name);
      if (known === undefined || known.kind === 'any' || known.kind === 'json') return false;
      return known.kind !== 'string' || known.format !== undefined;
    });
  }

  /** @returns null, or why there is no record */
  cut({ buffer, start, end, offset }: RecordWalk, row: RowWriter): Issue[] | null {
    const record = buffer.subarray(start, end);
    const ascii = isAscii(record);
    if (!ascii && !isUtf8(record)) return problem('encoding', `must be UTF-8, and holds other bytes (byte ${offset})`);
    const nul = record.indexOf(0);
    const bare = this.#inLines ? record.indexOf(13) : -1;
    if (bare !== -1)
      return problem('carriage-return', `must end with LF or CRLF, and holds a bare CR (byte ${offset + bare})`);
    if (nul !== -1) return problem('nul', `must be text, and holds a NUL byte (byte ${offset + nul})`);
    // Characters beyond ASCII take more than one byte: `places[n]` is where character n begins.
    const places = ascii ? null : characterPlaces(record);
    const length = places === null ? record.length : places.length - 1;
    if (length < this.#lengthMin) {
      return problem('length', `must have at least ${this.#lengthMin} characters, found ${length} (byte ${offset})`);
    }
    for (let at = 0; at < this.#starts.length; at += 1) {
      row.separate();
      const first = this.#starts[at] as number;
      const last = this.#ends[at] as number;
      let from = places === null ? first : (places[first] as number);
      let to = places === null ? last : (places[last] as number);
      while (to > from && record[to - 1] === space) to -= 1;
      if (this.#trimsStart[at] === true) while (from < to && record[from] === space) from += 1;
      if (to > from) row.addText(record, from, to);
    }
    return null;
  }
}

function characterPlaces(record: Uint8Array): number[] {
  const places: number[] = [];
  for (let at = 0; at < record.length; at += 1) if (((record[at] as number) & 0xc0) !== 0x80) places.push(at);
  places.push(record.length);
  return places;
}

function problem(rule: string, message: string): Issue[] {
  return [{ path: '', rule, message }];
}

function checkPlaces({ columns, recordLength }: FixedFormat): void {
  const twice = columns.find(({ name }, at) => columns.findIndex((other) => other.name === name) !== at);
  if (twice !== undefined)
    throw new FluxError('INVALID_INPUT', `source.format.columns names "${twice.name}" twice. Rename one.`);
  const beyond = columns.find(({ start, length }) => recordLength !== null && start - 1 + length > recordLength);
  if (beyond === undefined) return;
  throw new FluxError(
    'INVALID_INPUT',
    `Column "${beyond.name}" ends at ${beyond.start - 1 + beyond.length}, but source.format.recordLength is ${recordLength}. Correct one of them.`,
  );
}

function matchContract({ columns }: FixedFormat, model: ContractModel | null): RecordColumns {
  const names = columns.map(({ name }) => name);
  if (model === null) return plainTextColumns(names);
  const placeOf = (path: readonly string[]): number =>
    names.findIndex((name) => name === path.join('.') || name === path.join('_'));
  const missing = model.fields.filter((field) => field.required && placeOf(field.path) === -1);
  if (missing.length > 0) {
    const list = missing.map(({ path }) => `"${path.join('.')}"`).join(', ');
    throw new FluxError(
      'SOURCE_INVALID',
      `The contract requires ${list}, which source.format.columns does not name. Correct the contract or the pipeline.`,
    );
  }
  const known = new Set(model.fields.map(({ path }) => placeOf(path)));
  const unknown = names.filter((_name, at) => !known.has(at));
  if (unknown.length > 0 && !model.open) {
    const list = unknown.map((name) => `"${name}"`).join(', ');
    throw new FluxError(
      'SOURCE_INVALID',
      `source.format.columns names ${list}, which the contract does not allow (additionalProperties). Correct one of them.`,
    );
  }
  return csvColumns(model, ({ path }) => {
    const at = placeOf(path);
    return at === -1 ? null : cell(at);
  });
}
