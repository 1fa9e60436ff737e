import { closeSync, openSync, writeSync } from 'node:fs';

const bufferBytes = 1 << 20;

/**
 * Writes the delimited file from which DuckDB reads one batch: one record a line, ended by LF, its record number in front, so
 * that no order and no gap has to be inferred.
 */
export class ChunkWriter {
  readonly path: string;
  readonly #fd: number;
  readonly #delimiter: number;
  #buffer = Buffer.allocUnsafe(bufferBytes);
  #used = 0;
  byteCount = 0;
  recordCount = 0;
  /** Bytes of the longest line. */
  longest = 0;

  constructor(path: string, delimiter: string) {
    this.path = path;
    this.#fd = openSync(path, 'w', 0o600);
    this.#delimiter = delimiter.charCodeAt(0);
  }

  /** A record that is delimited text already. */
  addBytes(recordNo: number, source: Buffer, start: number, end: number): void {
    const size = end - start;
    this.#reserve(size + 20);
    this.#number(recordNo);
    this.#buffer[this.#used] = this.#delimiter;
    source.copy(this.#buffer, this.#used + 1, start, end);
    this.#buffer[this.#used + 1 + size] = 10;
    this.#used += size + 2;
    this.#count(size + 20);
  }

  /** Cells, written with commas; text is always quoted, so that the empty text and no text stay two things. */
  addCells(recordNo: number, cells: readonly (string | null)[]): void {
    const line = `${cells.map((cell) => (cell === null ? '' : `"${cell.replaceAll('"', '""')}"`)).join(',')}`;
    const bytes = Buffer.from(line, 'utf8');
    this.addBytes(recordNo, bytes, 0, bytes.length);
  }

  close(): void {
    this.#flush();
    closeSync(this.#fd);
  }

  #number(value: number): void {
    let digits = 1;
    for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits += 1;
    let rest = value;
    for (let at = this.#used + digits - 1; at >= this.#used; at -= 1) {
      const next = Math.floor(rest / 10);
      this.#buffer[at] = 48 + rest - next * 10;
      rest = next;
    }
    this.#used += digits;
  }

  #count(lineBytes: number): void {
    this.byteCount += lineBytes;
    this.recordCount += 1;
    if (lineBytes > this.longest) this.longest = lineBytes;
  }

  #reserve(size: number): void {
    if (this.#used + size <= this.#buffer.length) return;
    this.#flush();
    if (size > this.#buffer.length) this.#buffer = Buffer.allocUnsafe(size);
  }

  #flush(): void {
    let written = 0;
    while (written < this.#used) written += writeSync(this.#fd, this.#buffer, written, this.#used - written);
    this.#used = 0;
  }
}
