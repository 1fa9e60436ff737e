import { FluxError } from '../../errors.ts';
import type { ByteFile } from '../../objects/byte-file.ts';
import { ByteWindow } from './byte-window.ts';
import type { RecordWalk, WalkStart } from './decoded-reader.ts';
import { recordByteCountMax } from './limits.ts';
import type { Survey } from './reader.ts';
import { SurveyMarks } from './survey-marks.ts';

/** What the walks share: a window that moves over the file, and the record in it. */
abstract class WindowWalk implements RecordWalk {
  protected readonly window: ByteWindow;
  /** Records that were given, those before the beginning included. */
  protected record: number;
  start = 0;
  end = 0;
  offset: number;
  nextOffset: number;

  constructor(file: ByteFile, from: WalkStart, blockBytes?: number) {
    this.window = new ByteWindow(file, { start: from.offset, end: file.size }, blockBytes);
    this.offset = from.offset;
    this.nextOffset = from.offset;
    this.record = from.record;
  }

  get buffer(): Buffer {
    return this.window.buffer;
  }

  abstract next(): boolean;

  /** @returns whether that many bytes stand behind `nextOffset`, in the window */
  protected has(byteCount: number): boolean {
    const { window } = this;
    while (window.length - (this.nextOffset - window.base) < byteCount) {
      if (!window.refill(this.nextOffset - window.base)) return false;
    }
    return true;
  }

  /** The record in the window, which begins at `nextOffset`, and what is in front of it. @param to the next one's place in the file */
  protected give(start: number, end: number, to: number): true {
    this.start = start;
    this.end = end;
    this.offset = this.nextOffset;
    this.nextOffset = to;
    this.record += 1;
    return true;
  }
}

/** Records of one length, with nothing between them. */
export class FixedLengthWalk extends WindowWalk {
  readonly #length: number;

  constructor(
    file: ByteFile,
    from: WalkStart,
    { length, blockBytes }: { length: number; blockBytes?: number | undefined },
  ) {
    super(file, from, blockBytes);
    this.#length = length;
  }

  next(): boolean {
    if (!this.has(this.#length)) return false;
    const start = this.nextOffset - this.window.base;
    return this.give(start, start + this.#length, this.nextOffset + this.#length);
  }
}

const descriptorLength = 4;

/** Records behind a descriptor word (RDW): two bytes of length, itself included, and two of zero. */
export class VariableLengthWalk extends WindowWalk {
  next(): boolean {
    if (!this.has(1)) return false;
    const offset = this.nextOffset;
    if (!this.has(descriptorLength)) throw this.#invalid(offset, 'the source ends within a record descriptor word');
    const at = offset - this.window.base;
    const length = this.window.buffer.readUInt16BE(at);
    if (this.window.buffer.readUInt16BE(at + 2) !== 0) {
      throw this.#invalid(
        offset + 2,
        'expected a record descriptor word that ends with two zero bytes, found others (records in blocks are "blocked", those in parts "spanned")',
      );
    }
    if (length <= descriptorLength) {
      throw this.#invalid(offset, `expected a record descriptor word with a length of 5 or more, found ${length}`);
    }
    if (!this.has(length)) {
      throw this.#invalid(offset, `the record descriptor word promises ${length} bytes, but the source ends before`);
    }
    const start = offset - this.window.base;
    return this.give(start + descriptorLength, start + length, offset + length);
  }

  #invalid(byte: number, problem: string): FluxError {
    return new FluxError(
      'SOURCE_INVALID',
      `Record ${this.record + 1} cannot be read: at byte ${byte} ${problem}. Correct the source or source.format.records.`,
    );
  }
}

/** Lines that end with LF or CRLF; the last may end with the file. The end is no part of the record. */
export class LineWalk extends WindowWalk {
  next(): boolean {
    if (!this.has(1)) return false;
    let searched = 0;
    for (;;) {
      const start = this.nextOffset - this.window.base;
      const found = this.window.buffer.subarray(0, this.window.length).indexOf(10, start + searched);
      if (found !== -1) {
        const end = found > start && this.window.buffer[found - 1] === 13 ? found - 1 : found;
        return this.give(start, end, this.window.base + found + 1);
      }
      searched = this.window.length - start;
      if (searched > recordByteCountMax) throw this.#tooLong();
      if (!this.window.refill(start)) {
        const end = this.window.length;
        return this.give(start, end, this.window.base + end);
      }
    }
  }

  #tooLong(): FluxError {
    return new FluxError(
      'SOURCE_INVALID',
      `Record ${this.record + 1} at byte ${this.nextOffset} is longer than ${recordByteCountMax} bytes. A line end may be missing; correct the source, or set source.format.recordLength.`,
    );
  }
}

/** Marks of records of one length. @throws SOURCE_INVALID the length does not divide what is there */
export function surveyFixedLength(
  { size, firstOffset, length }: { size: number; firstOffset: number; length: number },
  markEvery: number,
): Survey {
  const recordsTotal = Math.floor((size - firstOffset) / length);
  const rest = (size - firstOffset) % length;
  if (rest !== 0) {
    throw new FluxError(
      'SOURCE_INVALID',
      `Expected records of ${length} bytes, found ${size - firstOffset} bytes: ${recordsTotal} records, and ${rest} bytes over at byte ${size - rest}. ` +
        'Correct the source or the length of its records.',
    );
  }
  if (recordsTotal === 0) throw new FluxError('SOURCE_INVALID', 'The source holds no record. Expected at least one.');
  return SurveyMarks.computed(recordsTotal, markEvery, (record) => ({ offset: firstOffset + record * length, record }));
}
