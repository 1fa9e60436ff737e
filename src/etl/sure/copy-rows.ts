import { closeSync, openSync, rmSync } from 'node:fs';
import { writeAll } from '../write-bytes.ts';
import { momentAt } from './calendar.ts';
import {
  header,
  longBytes,
  putBoolean,
  putDay,
  putDouble,
  putInteger,
  putMoment,
  putNull,
  rowHeadBytes,
  textHeadBytes,
} from './copy-format.ts';
import type { SureType } from './sure-value.ts';

const bufferBytes = 1 << 18;
/** Of a cell: the most that it takes beside a text. */
const cellBytes = longBytes;
const [backslash, letterT] = [92, 116];

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
    const room = rowHeadBytes + (columnCount + 1) * cellBytes + textBytes;
    if (this.#used + room > this.#buffer.length || this.#file === null) this.#makeRoom(room);
    this.#view.setInt16(this.#used, columnCount + 1);
    this.#used = putInteger(this.#view, this.#used + rowHeadBytes, recordNo);
    this.#count += 1;
  }

  addNull(): void {
    this.#used = putNull(this.#view, this.#used);
  }

  /** Text as it stands. */
  addText(source: Uint8Array, start: number, end: number): void {
    const buffer = this.#buffer;
    let used = this.#used;
    this.#view.setInt32(used, end - start);
    used += textHeadBytes;
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
    const from = this.#used + textHeadBytes;
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
    const from = this.#used + textHeadBytes;
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
    const [view, used] = [this.#view, this.#used];
    switch (type) {
      case 'bigint':
        this.#used = putInteger(view, used, value);
        return;
      case 'double precision':
        this.#used = putDouble(view, used, value);
        return;
      case 'date':
        this.#used = putDay(view, used, value);
        return;
      case 'boolean':
        this.#used = putBoolean(view, used, source[start] === letterT);
        return;
      case 'timestamp':
        this.#used = putMoment(view, used, momentAt(source, start, end));
        return;
      case 'timestamptz':
        this.#used = putMoment(view, used, momentAt(source, start, end - 1));
        return;
    }
  }

  /**
   * Room for whole rows that are written by other means.
   *
   * @returns where the first of them begins; all their bytes are to be written, and those behind them may be overwritten, as many as an integer takes
   */
  reserve(rowCount: number, byteCount: number): { view: DataView; bytes: Uint8Array; start: number } {
    const room = byteCount + longBytes;
    if (this.#used + room > this.#buffer.length || this.#file === null) this.#makeRoom(room);
    const start = this.#used;
    this.#used += byteCount;
    this.#count += rowCount;
    return { view: this.#view, bytes: this.#buffer, start };
  }

  /** Ends the file. The next row begins another. @returns null: there is none */
  finish(): RowFile | null {
    const [file, count] = [this.#file, this.#count];
    if (file === null) return null;
    this.#makeRoom(rowHeadBytes);
    this.#view.setInt16(this.#used, -1);
    this.#used += rowHeadBytes;
    this.#flush(file.fd);
    this.#leave();
    return { path: file.path, count };
  }

  /** Throws away the rows that are no file yet. */
  close(): void {
    if (this.#file !== null) rmSync(this.#file.path, { force: true });
    this.#leave();
  }

  #leave(): void {
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
