import { closeSync, constants, ftruncateSync, openSync } from 'node:fs';
import { writeAll, writeDigits } from '../write-bytes.ts';

const bufferBytes = 1 << 20;
const comma = 44;
const quote = 34;

/**
 * Writes the delimited file from which DuckDB reads one batch, like ChunkWriter, but lets a decoder put its bytes where they
 * are written out from, so that no cell becomes a string. A row is begun, filled, and then ended or taken back.
 */
export class RowWriter {
  readonly path: string;
  readonly #fd: number;
  /** A decoder writes at `used` and moves it. */
  buffer = Buffer.allocUnsafe(bufferBytes);
  used = 0;
  #rowStart = 0;
  /** Bytes that are in the file. */
  #byteCount = 0;
  recordCount = 0;
  /** Bytes of the longest row. */
  longest = 0;

  constructor(path: string) {
    this.path = path;
    this.#fd = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600);
  }

  /** @param byteCountMax the most that the row's cells can take */
  begin(recordNo: number, byteCountMax: number): void {
    const room = byteCountMax + 32;
    if (this.used + room > this.buffer.length) {
      this.#flush();
      if (room > this.buffer.length) this.buffer = Buffer.allocUnsafe(room);
    }
    this.#rowStart = this.used;
    this.used = writeDigits(this.buffer, this.used, recordNo);
  }

  separate(): void {
    this.buffer[this.used++] = comma;
  }

  /** UTF-8, quoted always: an empty text never comes here, because an empty cell is absent. */
  addText(source: Uint8Array, start: number, end: number): void {
    const { buffer } = this;
    let { used } = this;
    buffer[used++] = quote;
    for (let at = start; at < end; at += 1) {
      const byte = source[at] as number;
      buffer[used++] = byte;
      if (byte === quote) buffer[used++] = quote;
    }
    buffer[used++] = quote;
    this.used = used;
  }

  end(): void {
    this.buffer[this.used++] = 10;
    const size = this.used - this.#rowStart;
    if (size > this.longest) this.longest = size;
    this.recordCount += 1;
  }

  takeBack(): void {
    this.used = this.#rowStart;
  }

  close(): void {
    this.#flush();
    ftruncateSync(this.#fd, this.#byteCount);
    closeSync(this.#fd);
  }

  #flush(): void {
    writeAll(this.#fd, this.buffer, 0, this.used);
    this.#byteCount += this.used;
    this.used = 0;
  }
}
