import type { ByteFile } from '../../objects/byte-file.ts';

const blockBytesDefault = 1 << 20;

export interface ByteRange {
  start: number;
  end: number;
}

/** What a splitter may be told apart from its file. */
export interface SplitLimits {
  /** Bytes of the longest record. */
  maxBytes?: number | undefined;
  blockBytes?: number | undefined;
}

/**
 * A moving view of a file: `buffer[0, length)` holds the bytes from `base` on. Reading is synchronous, because it happens
 * in a child process that has nothing else to do.
 */
export class ByteWindow {
  readonly #file: ByteFile;
  readonly #end: number;
  readonly #blockBytes: number;
  buffer: Buffer;
  length = 0;
  /** File offset of `buffer[0]`. */
  base: number;

  /**
   * @param range file offsets where reading begins and stops
   * @param blockBytes how much is read at once at least; small ones make a test meet every boundary
   */
  constructor(file: ByteFile, range: ByteRange, blockBytes = blockBytesDefault) {
    this.#file = file;
    this.base = range.start;
    this.#end = range.end;
    this.#blockBytes = blockBytes;
    this.buffer = Buffer.allocUnsafe(blockBytes * 2);
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
    const target =
      kept + this.#blockBytes > this.buffer.length ? Buffer.allocUnsafe(this.buffer.length * 2) : this.buffer;
    this.buffer.copy(target, 0, keepFrom, this.length);
    this.buffer = target;
    this.base += keepFrom;
    this.length = kept;
    const wanted = Math.min(target.length - kept, this.#end - this.base - kept);
    const read = this.#file.readSync(target, kept, wanted, this.base + kept);
    if (read === 0) throw new Error(`the pinned object ends at byte ${this.base + kept}, expected ${this.#end}`);
    this.length = kept + read;
    return true;
  }
}
