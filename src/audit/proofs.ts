import { FluxError } from '../errors.ts';
import { CompactRange } from './compact-range.ts';
import { hashByteCount, hashNode, isPowerOfTwo } from './merkle.ts';

/** Leaf hashes (level 0) and roots of 256^level leaves, 256 of them a tile; undefined where there is none. */
export type ReadTile = (level: number, tileNo: number) => Promise<Buffer | undefined>;

export const tileWidth = 256;

/**
 * Proofs over a stored tree: any node is hashed from one tile per level at most, so a proof reads a few kilobytes however long
 * the log is.
 */
export function proofsOver(readTile: ReadTile) {
  const tiles = new Map<string, Promise<Buffer | undefined>>();
  const tile = (level: number, tileNo: number): Promise<Buffer | undefined> => {
    const key = `${String(level)}/${String(tileNo)}`;
    const known = tiles.get(key) ?? readTile(level, tileNo);
    tiles.set(key, known);
    return known;
  };

  /** The root of the perfect subtree of 2^height leaves that begins at leaf index * 2^height. */
  const subtree = async (height: number, index: number): Promise<Buffer> => {
    const [level, over] = [Math.floor(height / 8), height % 8];
    const first = index * 2 ** over;
    const hashes = (await tile(level, Math.floor(first / tileWidth))) ?? Buffer.alloc(0);
    const at = (first % tileWidth) * hashByteCount;
    let row = Array.from({ length: 2 ** over }, (_, i) =>
      hashes.subarray(at + i * hashByteCount, at + (i + 1) * hashByteCount),
    );
    if (row.some(({ length }) => length !== hashByteCount)) throw missing(level, Math.floor(first / tileWidth));
    while (row.length > 1) {
      row = Array.from({ length: row.length / 2 }, (_, i) => hashNode(row[2 * i] as Buffer, row[2 * i + 1] as Buffer));
    }
    return row[0] as Buffer;
  };

  /** RFC 6962's MTH of the leaves from `start` up to `end`; `start` is where a subtree of that many leaves may begin. */
  const range = async (start: number, end: number): Promise<Buffer> => {
    const count = end - start;
    if (isPowerOfTwo(count)) return subtree(Math.log2(count), start / count);
    const split = start + splitOf(count);
    return hashNode(await range(start, split), await range(split, end));
  };

  const inclusion = async (index: number, start: number, end: number): Promise<Buffer[]> => {
    if (end - start === 1) return [];
    const split = start + splitOf(end - start);
    return index < split
      ? [...(await inclusion(index, start, split)), await range(split, end)]
      : [...(await inclusion(index, split, end)), await range(start, split)];
  };

  const consistency = async (size: number, start: number, end: number, whole: boolean): Promise<Buffer[]> => {
    if (size === end) return whole ? [] : [await range(start, end)];
    const split = start + splitOf(end - start);
    return size <= split
      ? [...(await consistency(size, start, split, whole)), await range(split, end)]
      : [...(await consistency(size, split, end, false)), await range(start, split)];
  };

  return {
    rootAt: (size: number): Promise<Buffer> =>
      size === 0 ? Promise.resolve(new CompactRange().root()) : range(0, size),
    /** @param index of the leaf, from 0, below `size` */
    inclusion: (index: number, size: number) => inclusion(index, 0, size),
    /** @param from at most `to` */
    consistency: (from: number, to: number): Promise<Buffer[]> =>
      from === 0 ? Promise.resolve([]) : consistency(from, 0, to, true),
  };
}

/** The largest power of two below `count`. */
function splitOf(count: number): number {
  return 2 ** Math.floor(Math.log2(count - 1));
}

function missing(level: number, tileNo: number): FluxError {
  return new FluxError(
    'NOT_FOUND',
    `Tile ${String(tileNo)} of level ${String(level)} of the audit log does not reach as far as it should. Verify the log: flux audit verify.`,
  );
}
