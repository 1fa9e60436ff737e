import { hashByteCount, hashNode } from './merkle.ts';

const emptyRoot = Buffer.from('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'hex'); // SHA-256 of nothing

/**
 * What is needed of a tree to grow it: its size, and the roots of its perfect subtrees from left to right, one for each bit that
 * is set in the size. 40 hashes hold a log of a trillion entries.
 */
export class CompactRange {
  #size: number;
  readonly #peaks: Buffer[];

  constructor(size = 0, peaks: Buffer = Buffer.alloc(0)) {
    this.#size = size;
    this.#peaks = Array.from({ length: peaks.length / hashByteCount }, (_, i) =>
      peaks.subarray(i * hashByteCount, (i + 1) * hashByteCount),
    );
  }

  get size(): number {
    return this.#size;
  }

  /**
   * Appends a leaf hash.
   *
   * @param onSubtree told of each perfect subtree of 256^n leaves that this completes, n = `level`, in the order of levels
   */
  append(leaf: Buffer, onSubtree?: (level: number, index: number, hash: Buffer) => void): void {
    let node = leaf;
    let [height, rest] = [0, this.#size];
    while (rest % 2 === 1) {
      node = hashNode(this.#peaks.pop() as Buffer, node);
      rest = (rest - 1) / 2;
      height += 1;
      if (height % 8 === 0) onSubtree?.(height / 8, rest, node);
    }
    this.#peaks.push(node);
    this.#size += 1;
  }

  root(): Buffer {
    return this.#peaks.length === 0
      ? emptyRoot
      : (this.#peaks.reduceRight(
          (right: Buffer | null, left) => (right ? hashNode(left, right) : left),
          null,
        ) as Buffer);
  }

  /** The peaks, one after the other. */
  peaks(): Buffer {
    return Buffer.concat(this.#peaks);
  }

  copy(): CompactRange {
    return new CompactRange(this.#size, this.peaks());
  }
}
