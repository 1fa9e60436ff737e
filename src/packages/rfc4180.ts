import { Transform, type TransformCallback } from 'node:stream';

const [lineFeed, carriageReturn, quote] = [0x0a, 0x0d, 0x22];
const blockBytes = 65_536;

/**
 * Makes what PostgreSQL's `COPY … TO … (format csv)` writes the CSV of RFC 4180: records end with CRLF; a line break inside quotes is a part
 * of its value and stays as it is. Hands the bytes on in blocks of one size, because what a compressor makes of them may depend on the
 * pieces in which they come, and the network's pieces are never the same twice.
 */
export class Rfc4180 extends Transform {
  #quoted = false;
  #block = Buffer.allocUnsafeSlow(blockBytes);
  #filled = 0;

  override _transform(piece: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    // Doubled quotes inside a quoted value leave it and enter it again, and nothing stands between the two.
    for (let at = 0; at < piece.length; at += 1) {
      const byte = piece[at] as number;
      if (byte === quote) this.#quoted = !this.#quoted;
      else if (byte === lineFeed && !this.#quoted) this.#put(carriageReturn);
      this.#put(byte);
    }
    done();
  }

  override _flush(done: TransformCallback): void {
    if (this.#filled > 0) this.push(this.#block.subarray(0, this.#filled));
    done();
  }

  #put(byte: number): void {
    this.#block[this.#filled] = byte;
    this.#filled += 1;
    if (this.#filled < blockBytes) return;
    this.push(this.#block);
    this.#block = Buffer.allocUnsafeSlow(blockBytes);
    this.#filled = 0;
  }
}
