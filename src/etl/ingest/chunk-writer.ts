import { closeSync, openSync } from 'node:fs';
import { writeAll, writeDigits } from '../write-bytes.ts';

const bufferBytes = 1 << 18;

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
    this.#used = writeDigits(this.#buffer, this.#used, recordNo);
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
    writeAll(this.#fd, this.#buffer, 0, this.#used);
    this.#used = 0;
  }
}
