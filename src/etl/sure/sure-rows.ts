import { closeSync, openSync } from 'node:fs';
import { openPlainFile } from '../../objects/byte-file.ts';
import { CsvSplitter } from '../ingest/csv-splitter.ts';
import { writeAll, writeDigits } from '../write-bytes.ts';

const bufferBytesFirst = 1 << 20;
const outputBytes = 1 << 18;
const [comma, quote, backslash, lineEnd] = [44, 34, 92, 10];

/**
 * Rows of a batch as COPY reads them (CSV, the record number first), made of the source's own bytes. They are held until the batch is
 * complete, so that the rows that come from DuckDB find their places among them.
 */
export class SureRows {
  /** `[0, used)` are rows, the last one as far as it is written; whoever has begun one may write on behind them as much as it announced. */
  buffer = Buffer.allocUnsafe(bufferBytesFirst);
  used = 0;
  #rowStart = 0;
  /** Where records are left to others: the first record of each gap, and the bytes of rows before it. */
  #gaps: { record: number; at: number }[] = [];
  count = 0;

  /** Begins a batch. */
  reset(): void {
    this.used = 0;
    this.#gaps = [];
    this.count = 0;
  }

  /** @param byteCountMax the most that the row takes behind its number */
  begin(recordNo: number, byteCountMax: number): void {
    const room = this.used + byteCountMax + 24;
    if (room > this.buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, room));
      this.buffer.copy(larger, 0, 0, this.used);
      this.buffer = larger;
    }
    this.#rowStart = this.used;
    this.used = writeDigits(this.buffer, this.used, recordNo);
  }

  separate(): void {
    this.buffer[this.used++] = comma;
  }

  /** Text in which nothing has to be quoted. */
  addPlain(source: Buffer, start: number, end: number): void {
    const buffer = this.buffer;
    let used = this.used;
    // Short ones are copied faster byte by byte than by a call out of JavaScript.
    if (end - start > 64) used += source.copy(buffer, used, start, end);
    else for (let at = start; at < end; at += 1) buffer[used++] = source[at] as number;
    this.used = used;
  }

  /** A text of JSON with its quotes, in which only quotes and backslashes are escaped: COPY doubles the one and leaves the other. */
  addUnescaped(source: Buffer, start: number, end: number): void {
    const buffer = this.buffer;
    let used = this.used;
    for (let at = start; at < end; at += 1) {
      let byte = source[at] as number;
      if (byte === backslash) {
        at += 1;
        byte = source[at] as number;
        if (byte === quote) buffer[used++] = quote;
      }
      buffer[used++] = byte;
    }
    this.used = used;
  }

  end(): void {
    this.buffer[this.used++] = lineEnd;
    this.count += 1;
  }

  takeBack(): void {
    this.used = this.#rowStart;
  }

  /** The record is another's to judge. */
  leave(recordNo: number): void {
    if (this.#gaps.at(-1)?.at !== this.used) this.#gaps.push({ record: recordNo, at: this.used });
  }

  /** Writes all rows in the order of their records. @param rest a file of others' rows in that order; null: there are none */
  write(path: string, rest: string | null): void {
    const fd = openSync(path, 'w', 0o600);
    try {
      const output = new Output(fd);
      const from = rest === null ? 0 : this.#writeAmong(rest, output);
      output.add(this.buffer, from, this.used);
      output.flush();
    } finally {
      closeSync(fd);
    }
  }

  /** @returns how many of the own bytes stand before the last of the others */
  #writeAmong(rest: string, output: Output): number {
    const file = openPlainFile(rest);
    try {
      if (file.size === 0) return 0;
      const rows = new CsvSplitter(file, { start: 0, end: file.size }, { delimiter: ',', quote: '"' });
      let gap = 0;
      let from = 0;
      while (rows.next()) {
        const record = leadingNumber(rows.buffer, rows.start);
        while ((this.#gaps[gap + 1]?.record ?? Infinity) <= record) gap += 1;
        const to = this.#gaps[gap]?.at ?? 0;
        output.add(this.buffer, from, to);
        from = to;
        output.add(rows.buffer, rows.start, rows.end);
        output.endLine();
      }
      return from;
    } finally {
      file.close();
    }
  }
}

function leadingNumber(bytes: Buffer, start: number): number {
  let value = 0;
  for (let at = start; bytes[at] !== comma && at < bytes.length; at += 1)
    value = value * 10 + (bytes[at] as number) - 48;
  return value;
}

/** Gathers small pieces for fewer calls; large ones pass by. */
class Output {
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafe(outputBytes);
  #used = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  add(source: Buffer, start: number, end: number): void {
    if (end - start + 1 > outputBytes - this.#used) this.flush();
    if (end - start + 1 > outputBytes) writeAll(this.#fd, source, start, end);
    else this.#used += source.copy(this.#buffer, this.#used, start, end);
  }

  endLine(): void {
    if (this.#used === outputBytes) this.flush();
    this.#buffer[this.#used++] = lineEnd;
  }

  flush(): void {
    writeAll(this.#fd, this.#buffer, 0, this.#used);
    this.#used = 0;
  }
}
