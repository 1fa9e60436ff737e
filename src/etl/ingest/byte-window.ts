import { readSync } from 'node:fs';

const blockBytes = 1 << 20;

/**
 * A moving view of a file: `buffer[0, length)` holds the bytes from `base` on. Reading is synchronous, because it happens
 * in a child process that has nothing else to do.
 */
export class ByteWindow {
  readonly #fd: number;
  readonly #end: number;
  buffer: Buffer = Buffer.allocUnsafe(blockBytes * 2);
  length = 0;
  /** File offset of `buffer[0]`. */
  base: number;

  /** @param end file offset where reading stops */
  constructor(fd: number, start: number, end: number) {
    this.#fd = fd;
    this.base = start;
    this.#end = end;
  }

  get atEnd(): boolean {
    return this.base + this.length >= this.#end;
  }

  /**
   * Drops the bytes before `keepFrom` and reads at least one more block, in a buffer twice as large when the kept bytes fill
   * most of it. Positions move down by `keepFrom`.
   *
   * @returns false when the end had been reached before
   */
  refill(keepFrom: number): boolean {
    if (this.atEnd) return false;
    const kept = this.length - keepFrom;
    const target = kept + blockBytes > this.buffer.length ? Buffer.allocUnsafe(this.buffer.length * 2) : this.buffer;
    this.buffer.copy(target, 0, keepFrom, this.length);
    this.buffer = target;
    this.base += keepFrom;
    this.length = kept;
    const wanted = Math.min(target.length - kept, this.#end - this.base - kept);
    const read = readSync(this.#fd, target, kept, wanted, this.base + kept);
    if (read === 0) throw new Error(`the pinned object ends at byte ${this.base + kept}, expected ${this.#end}`);
    this.length = kept + read;
    return true;
  }
}
