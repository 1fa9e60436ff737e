import { isAscii, isUtf8 } from 'node:buffer';
import type { ByteFile } from '../../objects/byte-file.ts';
import { type ByteRange, ByteWindow, type SplitLimits } from './byte-window.ts';
import { recordByteCountMax } from './limits.ts';

/** What makes a record no RFC 4180 record. The first one found counts. */
export type CsvFault = 'fields' | 'quote' | 'carriage-return' | 'nul' | 'encoding' | 'unterminated' | 'length';

export interface CsvDialect {
  delimiter: string;
  /** null: a quote is an ordinary character. */
  quote: string | null;
  /** What makes a quote, or itself, an ordinary character within quotes; absent or null: a quote is written twice. */
  escape?: string | null;
  /** A line that begins with it is none; absent or null: there are no such lines. */
  comment?: string | null;
}

const ordinary = 0;
const delimiterByte = 1;
const lineFeed = 2;
const carriageReturn = 3;
const quoteByte = 4;

/**
 * Finds the records of delimited text by walking its bytes: a record ends at LF or CRLF outside quotes, empty lines are none.
 * Where a quote is misplaced the record is at fault, and ends where a lenient reader would end it.
 *
 * After `next()` returned true the public fields describe one record; they hold until the following call.
 */
export class CsvSplitter {
  readonly #window: ByteWindow;
  readonly #classes: Uint8Array;
  readonly #delimiter: number;
  readonly #quote: number;
  readonly #escape: number;
  readonly #comment: number;
  readonly #maxBytes: number;
  #position = 0;
  #nextNul = -1;
  /** Where the next byte stands that makes a record more than fields between delimiters; the window's end where there is none. */
  #nextQuote = -1;
  #nextReturn = -1;
  #cleanTo = 0;
  #dirtyTo = 0;

  /** Position of the record in `buffer`, without its line end. */
  start = 0;
  end = 0;
  fieldCount = 0;
  fault: CsvFault | null = null;
  /** File offset of the byte that the fault is about. */
  faultOffset = 0;
  /** Somewhere behind us there was valid UTF-8 beyond ASCII. */
  seenMultibyte = false;

  constructor(file: ByteFile, range: ByteRange, dialect: CsvDialect, limits: SplitLimits = {}) {
    this.#window = new ByteWindow(file, range, limits.blockBytes);
    this.#classes = classesOf(dialect);
    this.#delimiter = dialect.delimiter.charCodeAt(0);
    this.#quote = dialect.quote === null ? -1 : dialect.quote.charCodeAt(0);
    this.#escape = dialect.escape?.charCodeAt(0) ?? -1;
    this.#comment = dialect.comment?.charCodeAt(0) ?? -1;
    this.#maxBytes = limits.maxBytes ?? recordByteCountMax;
  }

  get buffer(): Buffer {
    return this.#window.buffer;
  }

  /** File offset of the record. */
  get offset(): number {
    return this.#window.base + this.start;
  }

  /** File offset of what follows the record and its line end. */
  get nextOffset(): number {
    return this.#window.base + this.#position;
  }

  /** Where in `buffer` the next record, or an empty line or a comment, begins. */
  get position(): number {
    return this.#position;
  }

  /** Reads on where needed. @returns up to where, behind a line end, `buffer` is UTF-8; at or before `position`: nothing is known to be */
  wholeLines(): number {
    if (this.#position >= this.#cleanTo) {
      if (this.#linesEnd() <= this.#position) this.#refill(this.#position);
      const lines = this.#linesEnd();
      if (lines > Math.max(this.#position, this.#dirtyTo)) this.#checkLines(this.#position, lines);
    }
    return this.#window.buffer[this.#cleanTo - 1] === 10 ? this.#cleanTo : 0;
  }

  /** Goes behind the next record, whose end somebody else has found: it is one without a fault. */
  pass(end: number, next: number): void {
    this.start = this.#position;
    this.end = end;
    this.#position = next;
    this.fault = null;
  }

  /** Moves to the next record; false at the end. After the faults `unterminated` and `length` there is no next one. */
  next(): boolean {
    for (;;) {
      if (this.fault === 'unterminated' || this.fault === 'length') return false;
      if (this.#position >= this.#window.length && !this.#refill(this.#position)) return false;
      if (this.#window.buffer[this.#position] === this.#comment) {
        this.#skipLine();
        continue;
      }
      if (!this.#scan()) {
        this.start = this.#position;
        this.end = this.#window.length;
        this.fault = 'length';
        this.faultOffset = this.offset;
        return true;
      }
      if (this.end > this.start) break;
    }
    this.#checkBytes();
    return true;
  }

  /**
   * Goes behind records that only have to be counted, from line end to line end. It stops at the first one that is
   * not plain to see: one with quotes, one that the window does not show whole, one whose bytes have not been found to be UTF-8.
   *
   * @returns how many, at most `count`; `next` reads on from there
   */
  skip(count: number): number {
    const { buffer } = this.#window;
    if (this.#nextQuote < this.#position) this.#nextQuote = this.#findQuote(this.#position);
    const to = Math.min(this.#nextQuote, this.#cleanTo);
    let skipped = 0;
    let from = this.#position;
    while (skipped < count) {
      const lineEnd = buffer.indexOf(10, from);
      if (lineEnd === -1 || lineEnd >= to) break;
      if (this.#nextReturn < from) this.#nextReturn = this.#find(13, from);
      const end = this.#nextReturn < lineEnd ? this.#nextReturn : lineEnd;
      // A bare CR is a fault.
      if (end < lineEnd - 1 || buffer[from] === this.#comment || end - from > this.#maxBytes) break;
      if (end > from) skipped += 1;
      from = lineEnd + 1;
    }
    this.#position = from;
    return skipped;
  }

  /** Goes behind the next line end, however far away it is. */
  #skipLine(): void {
    for (;;) {
      const found = this.#window.buffer.indexOf(10, this.#position);
      if (found !== -1 && found < this.#window.length) {
        this.#position = found + 1;
        return;
      }
      this.#position = this.#window.length;
      if (!this.#refill(this.#position)) return;
    }
  }

  #refill(keepFrom: number): boolean {
    if (!this.#window.refill(keepFrom)) return false;
    this.#position -= keepFrom;
    this.#cleanTo = Math.max(0, this.#cleanTo - keepFrom);
    this.#dirtyTo = Math.max(0, this.#dirtyTo - keepFrom);
    this.#nextNul = -1;
    this.#nextQuote = -1;
    this.#nextReturn = -1;
    return true;
  }

  /** Finds the end of the record at `#position`, reading on where needed; false when it is longer than allowed. */
  #scan(): boolean {
    for (;;) {
      if (this.#scanWindow()) return this.end - this.start <= this.#maxBytes;
      if (this.#window.length - this.#position > this.#maxBytes) return false;
      // What was scanned in vain is scanned again: once a block, and the block doubles.
      this.#refill(this.#position);
    }
  }

  /** Walks one record in the window; false when the window ends before the record does. */
  #scanWindow(): boolean {
    const { buffer, length, atEnd } = this.#window;
    const classes = this.#classes;
    this.start = this.#position;
    this.fault = null;
    if (this.#walkPlain()) return true;
    let fields = 1;
    let fieldStart = this.start;
    let at = this.start;
    while (at < length) {
      const kind = classes[buffer[at] as number] as number;
      if (kind === ordinary) {
        at += 1;
      } else if (kind === delimiterByte) {
        fields += 1;
        at += 1;
        fieldStart = at;
      } else if (kind === lineFeed) {
        return this.#finish(at, at + 1, fields);
      } else if (kind === carriageReturn) {
        if (at + 1 === length && !atEnd) return false;
        if (buffer[at + 1] === 10 && at + 1 < length) return this.#finish(at, at + 2, fields);
        this.#blame('carriage-return', at);
        at += 1;
      } else if (at !== fieldStart) {
        this.#blame('quote', at);
        at += 1;
      } else {
        const closing = this.#closingQuote(at);
        if (closing === -1) {
          if (!atEnd) return false;
          this.#blame('unterminated', at);
          this.fault = 'unterminated';
          return this.#finish(length, length, fields);
        }
        at = closing + 1;
        if (
          at < length &&
          (classes[buffer[at] as number] === ordinary || classes[buffer[at] as number] === quoteByte)
        ) {
          this.#blame('quote', at);
        }
      }
    }
    return atEnd ? this.#finish(length, length, fields) : false;
  }

  /** Walks a record without quotes and without a CR but at its end, as nearly all are; false: it is not such a one, or goes on. */
  #walkPlain(): boolean {
    const { buffer, length } = this.#window;
    const delimiter = this.#delimiter;
    if (this.#nextQuote < this.start) this.#nextQuote = this.#findQuote(this.start);
    if (this.#nextReturn < this.start) this.#nextReturn = this.#find(13, this.start);
    const to = Math.min(this.#nextQuote, this.#nextReturn);
    let fields = 1;
    for (let at = this.start; at < to; at += 1) {
      const byte = buffer[at];
      if (byte === delimiter) fields += 1;
      else if (byte === 10) return this.#finish(at, at + 1, fields);
    }
    if (to === this.#nextReturn && to + 1 < length && buffer[to + 1] === 10) return this.#finish(to, to + 2, fields);
    return false;
  }

  #findQuote(from: number): number {
    return this.#quote === -1 ? this.#window.length : this.#find(this.#quote, from);
  }

  /** Where a byte stands next in the window; the window's end where it does not. */
  #find(byte: number, from: number): number {
    const { buffer, length } = this.#window;
    const found = buffer.indexOf(byte, from);
    return found === -1 || found >= length ? length : found;
  }

  /** Position of the quote that closes the one at `opening`; -1 when the window does not show it. */
  #closingQuote(opening: number): number {
    const { buffer, length, atEnd } = this.#window;
    let at = opening + 1;
    if (this.#escape !== -1) return this.#unescapedQuote(at);
    for (;;) {
      while (at < length && buffer[at] !== this.#quote) at += 1;
      if (at >= length) return -1;
      if (at + 1 === length) return atEnd ? at : -1;
      if (buffer[at + 1] !== this.#quote) return at;
      at += 2;
    }
  }

  /** Position of the next quote that no escape makes an ordinary character; -1 when the window does not show it. */
  #unescapedQuote(from: number): number {
    const { buffer, length } = this.#window;
    for (let at = from; at < length; at += 1) {
      const byte = buffer[at];
      if (byte === this.#quote) return at;
      const next = buffer[at + 1];
      if (byte === this.#escape && at + 1 < length && (next === this.#quote || next === this.#escape)) at += 1;
    }
    return -1;
  }

  #finish(end: number, next: number, fields: number): true {
    this.end = end;
    this.#position = next;
    this.fieldCount = fields;
    return true;
  }

  #blame(fault: CsvFault, at: number): void {
    if (this.fault !== null) return;
    this.fault = fault;
    this.faultOffset = this.#window.base + at;
  }

  #checkBytes(): void {
    if (this.#nextNul < this.start) this.#nextNul = this.#find(0, this.start);
    if (this.#nextNul < this.end) this.#blame('nul', this.#nextNul);
    if (this.end > this.#cleanTo) this.#checkEncoding();
  }

  /**
   * Judges all whole lines of the window at once, since that is nearly free, and single records only where that failed.
   * A line feed is never part of a multi-byte sequence, so lines can be judged apart.
   */
  #checkEncoding(): void {
    if (this.end > this.#dirtyTo && this.#checkLines(this.start, Math.max(this.end, this.#linesEnd()))) return;
    const record = this.#window.buffer.subarray(this.start, this.end);
    if (isUtf8(record)) this.seenMultibyte ||= !isAscii(record);
    else this.#blame('encoding', this.start + firstInvalidUtf8(record));
  }

  /** Behind the last line end in the window. */
  #linesEnd(): number {
    return this.#window.buffer.subarray(0, this.#window.length).lastIndexOf(10) + 1;
  }

  /** @returns whether they are UTF-8 */
  #checkLines(from: number, to: number): boolean {
    const lines = this.#window.buffer.subarray(from, to);
    if (!isUtf8(lines)) {
      this.#dirtyTo = to;
      return false;
    }
    this.seenMultibyte ||= !isAscii(lines);
    this.#cleanTo = to;
    return true;
  }
}

function classesOf(dialect: CsvDialect): Uint8Array {
  const classes = new Uint8Array(256);
  classes[10] = lineFeed;
  classes[13] = carriageReturn;
  classes[dialect.delimiter.charCodeAt(0)] = delimiterByte;
  if (dialect.quote !== null) classes[dialect.quote.charCodeAt(0)] = quoteByte;
  return classes;
}

/** Index of the first byte that is no UTF-8; the length when all is. Halves, since validity of a prefix is monotone. */
export function firstInvalidUtf8(bytes: Uint8Array): number {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let good = 0;
  let bad = bytes.length;
  const decodes = (length: number): boolean => {
    try {
      // stream: an incomplete sequence at the end is not yet an error.
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length), { stream: true });
      return true;
    } catch {
      return false;
    }
  };
  if (decodes(bad)) {
    try {
      decoder.decode(bytes);
      return bytes.length;
    } catch {
      return bytes.length - 1;
    }
  }
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (decodes(middle)) good = middle;
    else bad = middle;
  }
  return bad - 1;
}
