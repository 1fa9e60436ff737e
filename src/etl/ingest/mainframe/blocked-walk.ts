import { FluxError } from '../../../errors.ts';
import type { ByteFile } from '../../../objects/byte-file.ts';
import type { RecordWalk, WalkStart } from '../decoded-reader.ts';
import { recordByteCountMax } from '../limits.ts';

const descriptorLength = 4;
/** A block is read at once; no device writes larger ones. */
const blockByteCountMax = 16 * 1024 * 1024;

/** Where the blocks of a file begin, found by going from one descriptor word (BDW) to the next, as far as was asked. */
export class Blocks {
  readonly #file: ByteFile;
  readonly #starts: number[] = [0];
  readonly #word = Buffer.alloc(descriptorLength);

  constructor(file: ByteFile) {
    this.#file = file;
  }

  /** The block that holds a byte. @throws SOURCE_INVALID no block does */
  at(offset: number): { start: number; end: number } {
    let end = this.#last + this.#lengthAt(this.#last);
    while (end <= offset) {
      this.#starts.push(end);
      end += this.#lengthAt(end);
    }
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#starts[middle] as number) <= offset) low = middle;
      else high = middle;
    }
    return { start: this.#starts[low] as number, end: this.#starts[low + 1] ?? end };
  }

  get #last(): number {
    return this.#starts.at(-1) as number;
  }

  /** Two bytes of length, itself included, and two of zero; or, with the first bit set, four bytes of length. */
  #lengthAt(start: number): number {
    const read = this.#file.readSync(this.#word, 0, descriptorLength, start);
    if (read < descriptorLength) throw invalid(`at byte ${start} the source ends within a block descriptor word`);
    const large = (this.#word.readUInt8(0) & 0x80) !== 0;
    const length = large ? this.#word.readUInt32BE(0) - 0x80_00_00_00 : this.#word.readUInt16BE(0);
    if (!large && this.#word.readUInt16BE(2) !== 0) {
      throw invalid(
        `at byte ${start + 2} expected a block descriptor word that ends with two zero bytes, found others`,
      );
    }
    if (length <= descriptorLength) {
      throw invalid(`at byte ${start} expected a block of more than ${descriptorLength} bytes, found ${length}`);
    }
    if (length > blockByteCountMax)
      throw invalid(`the block at byte ${start} is longer than ${blockByteCountMax} bytes`);
    if (start + length > this.#file.size) {
      throw invalid(`the block at byte ${start} promises ${length} bytes, but the source ends before`);
    }
    return length;
  }
}

interface Segment {
  /** In the file, of the first byte behind the descriptor word. */
  start: number;
  end: number;
  /** 0: a whole record; 1: its first part, 3: one between, 2: its last. */
  part: number;
}

/** Records in blocks, each behind a descriptor word (VB); and, where they may be spanned (VBS), in parts over several blocks. */
export class BlockedWalk implements RecordWalk {
  readonly #file: ByteFile;
  readonly #blocks: Blocks;
  readonly #spanned: boolean;
  #record: number;
  #segments: Segment[] = [];
  #block = { start: 0, end: 0 };
  #content: Buffer = Buffer.alloc(0);
  buffer: Buffer = Buffer.alloc(0);
  start = 0;
  end = 0;
  offset: number;
  nextOffset: number;

  constructor(file: ByteFile, blocks: Blocks, { from, spanned }: { from: WalkStart; spanned: boolean }) {
    this.#file = file;
    this.#blocks = blocks;
    this.#spanned = spanned;
    this.#record = from.record;
    this.offset = from.offset;
    this.nextOffset = from.offset;
  }

  next(): boolean {
    if (this.nextOffset >= this.#file.size) return false;
    const first = this.#segment();
    this.offset = first.start - descriptorLength;
    this.#segments = [first];
    if (first.part > 1) throw this.#invalid(first, 'expected the beginning of a record, found a later part of one');
    let byteCount = first.end - first.start;
    for (let last = first; last.part === 1 || last.part === 3;) {
      if (this.nextOffset >= this.#file.size)
        throw this.#invalid(last, 'the source ends before the last part of the record');
      last = this.#segment();
      if (last.part < 2)
        throw this.#invalid(last, 'expected a later part of the record, found the beginning of another');
      this.#segments.push(last);
      byteCount += last.end - last.start;
      if (byteCount > recordByteCountMax)
        throw this.#invalid(last, `the record is longer than ${recordByteCountMax} bytes`);
    }
    this.#take(first, byteCount);
    this.#record += 1;
    return true;
  }

  /** In the file. @param at in `buffer` */
  placeOf(at: number): number {
    let behind = at - this.start;
    for (const { start, end } of this.#segments) {
      if (behind < end - start) return start + behind;
      behind -= end - start;
    }
    return this.nextOffset;
  }

  /** A record of one part stays where its block was read to. */
  #take(first: Segment, byteCount: number): void {
    const whole = this.#segments.length === 1;
    this.buffer = whole ? this.#content : Buffer.concat(this.#segments.map((part) => this.#bytesOf(part)));
    this.start = whole ? first.start - this.#block.start : 0;
    this.end = this.start + byteCount;
  }

  #bytesOf({ start, end }: Segment): Buffer {
    const bytes = Buffer.allocUnsafe(end - start);
    return bytes.subarray(0, this.#file.readSync(bytes, 0, end - start, start));
  }

  #segment(): Segment {
    if (this.nextOffset >= this.#block.end || this.nextOffset < this.#block.start || this.#block.end === 0) {
      this.#block = this.#blocks.at(this.nextOffset);
      this.#content = this.#bytesOf({ ...this.#block, part: 0 });
      if (this.nextOffset === this.#block.start) this.nextOffset += descriptorLength;
    }
    const offset = this.nextOffset;
    const at = offset - this.#block.start;
    const rest = this.#block.end - offset;
    const here = { start: offset + descriptorLength };
    if (rest < descriptorLength) throw this.#invalid(here, 'the block ends within a record descriptor word');
    const length = this.#content.readUInt16BE(at);
    const part = this.#content.readUInt8(at + 2);
    if (part > (this.#spanned ? 3 : 0) || this.#content.readUInt8(at + 3) !== 0) {
      const words = this.#spanned ? 'a part of 0 to 3 and a zero byte' : 'two zero bytes';
      const hint = !this.#spanned && part <= 3 ? ' (records in parts are "spanned")' : '';
      throw this.#invalid(here, `expected a record descriptor word that ends with ${words}, found others${hint}`);
    }
    if (length < descriptorLength || (length === descriptorLength && part === 0)) {
      throw this.#invalid(here, `expected a record descriptor word with a length of 5 or more, found ${length}`);
    }
    if (length > rest) throw this.#invalid(here, `the record promises ${length} bytes, but its block ends before`);
    this.nextOffset = offset + length;
    return { ...here, end: offset + length, part };
  }

  #invalid({ start }: Pick<Segment, 'start'>, problem: string): FluxError {
    return invalid(`at byte ${start - descriptorLength} ${problem}`, this.#record + 1);
  }
}

function invalid(problem: string, record?: number): FluxError {
  const what = record === undefined ? 'The blocks' : `Record ${record}`;
  return new FluxError(
    'SOURCE_INVALID',
    `${what} cannot be read: ${problem}. Correct the source or source.format.records.`,
  );
}
