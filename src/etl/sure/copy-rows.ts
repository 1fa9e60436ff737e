import { closeSync, openSync } from 'node:fs';
import { writeAll } from '../write-bytes.ts';
import { dayNumber, microsecondOfDay } from './calendar.ts';
import type { SureType } from './sure-value.ts';

const bufferBytes = 1 << 18;
/** Its signature, no flags, no more of a header (PostgreSQL, COPY, "Binary Format"). */
const header = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
const headBytes = 2;
/** Of a cell: its length, which comes first, and the most that a value takes which is not its text. */
const cellBytes = 4 + 8;
const [backslash, letterT] = [92, 116];
const wordCount = 2 ** 32;
const microsecondsADay = 86_400_000_000n;

/** A file of rows for COPY. */
export interface RowFile {
  path: string;
  count: number;
}

/**
 * Rows of a batch in COPY's binary format, the record number first, made of the source's own bytes. The server takes them for three quarters of
 * what rows of text cost it: nothing is left to be split or parsed (bench/README.md).
 *
 * What is added comes in the order of the columns, one cell each.
 */
export class CopyRows {
  readonly #pathOf: () => string;
  #buffer: Buffer = Buffer.allocUnsafe(bufferBytes);
  #view = viewOf(this.#buffer);
  #used = 0;
  #file: { path: string; fd: number } | null = null;
  #count = 0;

  /** @param pathOf where the next file goes */
  constructor(pathOf: () => string) {
    this.#pathOf = pathOf;
  }

  /** @param textBytes the most that the texts among its cells take */
  begin(recordNo: number, columnCount: number, textBytes: number): void {
    const room = headBytes + (columnCount + 1) * cellBytes + textBytes;
    if (this.#used + room > this.#buffer.length || this.#file === null) this.#makeRoom(room);
    this.#view.setInt16(this.#used, columnCount + 1);
    this.#used += headBytes;
    this.#addInteger(recordNo);
    this.#count += 1;
  }

  addNull(): void {
    this.#view.setInt32(this.#used, -1);
    this.#used += 4;
  }

  /** Text as it stands. */
  addText(source: Uint8Array, start: number, end: number): void {
    const buffer = this.#buffer;
    let used = this.#used;
    this.#view.setInt32(used, end - start);
    used += 4;
    // Short ones are copied faster byte by byte than by a call out of JavaScript.
    if (end - start > 64) {
      buffer.set(source.subarray(start, end), used);
      used += end - start;
    } else for (let at = start; at < end; at += 1) buffer[used++] = source[at] as number;
    this.#used = used;
  }

  /** Text in which each quote is written twice. */
  addDoubled(source: Uint8Array, start: number, end: number, mark: number): void {
    const buffer = this.#buffer;
    const from = this.#used + 4;
    let used = from;
    for (let at = start; at < end; at += 1) {
      const byte = source[at] as number;
      buffer[used++] = byte;
      if (byte === mark) at += 1;
    }
    this.#view.setInt32(this.#used, used - from);
    this.#used = used;
  }

  /** Text of JSON in which nothing but quotes and backslashes is escaped. */
  addEscaped(source: Uint8Array, start: number, end: number): void {
    const buffer = this.#buffer;
    const from = this.#used + 4;
    let used = from;
    for (let at = start; at < end; at += 1) {
      if (source[at] === backslash) at += 1;
      buffer[used++] = source[at] as number;
    }
    this.#view.setInt32(this.#used, used - from);
    this.#used = used;
  }

  /** @param value what the text was read as (`SureRead`) @param start where the text stands */
  addValue(type: Exclude<SureType, 'text'>, value: number, source: Uint8Array, start: number, end: number): void {
    switch (type) {
      case 'bigint':
        return this.#addInteger(value);
      case 'double precision':
        return this.#addDouble(value);
      case 'date':
        return this.#addDay(value);
      case 'boolean':
        return this.#addBoolean(source[start] === letterT);
      case 'timestamp':
        return this.#addMoment(source, start, end);
      case 'timestamptz':
        return this.#addMoment(source, start, end - 1);
    }
  }

  /** @param value of at most 2^53 */
  #addInteger(value: number): void {
    const [view, used] = [this.#view, this.#used];
    const high = Math.floor(value / wordCount);
    view.setInt32(used, 8);
    view.setInt32(used + 4, high);
    view.setUint32(used + 8, value - high * wordCount);
    this.#used = used + 12;
  }

  #addDouble(value: number): void {
    this.#view.setInt32(this.#used, 8);
    this.#view.setFloat64(this.#used + 4, value);
    this.#used += 12;
  }

  #addBoolean(value: boolean): void {
    this.#view.setInt32(this.#used, 1);
    this.#view.setUint8(this.#used + 4, value ? 1 : 0);
    this.#used += 5;
  }

  #addDay(days: number): void {
    this.#view.setInt32(this.#used, 4);
    this.#view.setInt32(this.#used + 4, days);
    this.#used += 8;
  }

  /** Microseconds since 2000-01-01, of UTC where the type has a zone. */
  #addMoment(source: Uint8Array, start: number, end: number): void {
    const days = BigInt(dayNumber(source, start)) * microsecondsADay;
    this.#view.setInt32(this.#used, 8);
    this.#view.setBigInt64(this.#used + 4, days + BigInt(microsecondOfDay(source, start + 11, end)));
    this.#used += 12;
  }

  /** Ends the file. The next row begins another. @returns null: there is none */
  finish(): RowFile | null {
    const [file, count] = [this.#file, this.#count];
    if (file === null) return null;
    this.#makeRoom(headBytes);
    this.#view.setInt16(this.#used, -1);
    this.#used += headBytes;
    this.#flush(file.fd);
    this.close();
    return { path: file.path, count };
  }

  /** Lets go of the file as it is. */
  close(): void {
    if (this.#file !== null) closeSync(this.#file.fd);
    this.#file = null;
    this.#count = 0;
    this.#used = 0;
  }

  #makeRoom(room: number): void {
    if (this.#file === null) {
      const path = this.#pathOf();
      this.#file = { path, fd: openSync(path, 'w', 0o600) };
      this.#used = header.copy(this.#buffer);
    }
    if (this.#used + room <= this.#buffer.length) return;
    this.#flush(this.#file.fd);
    // Of the usual size again behind a row that was longer.
    const wanted = Math.max(bufferBytes, room);
    if (wanted === this.#buffer.length) return;
    this.#buffer = Buffer.allocUnsafe(wanted);
    this.#view = viewOf(this.#buffer);
  }

  #flush(fd: number): void {
    writeAll(fd, this.#buffer, 0, this.#used);
    this.#used = 0;
  }
}

const viewOf = ({ buffer, byteOffset, length }: Buffer): DataView => new DataView(buffer, byteOffset, length);
