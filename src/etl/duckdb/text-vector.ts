import duckdb from '@duckdb/node-bindings';
import { letGo, readValidity, vectorRowCountMax } from './vector-data.ts';

const itemBytes = 16;
/** A text of so many bytes stands in its item, behind four bytes of length; of a longer one the item holds the address. */
export const inlineBytesMax = 12;
/** The least that a system maps at once. */
const pageBytes = 4096;
const textBytesMax = 8192;
/** Texts that lie in more places than this are looked at in the order of their addresses. */
const runCountMax = 16;
const wordCount = 2 ** 32;

/** Where a text starts that is none: a null, or one of more than 8 KiB, of which a whole chunk could fill the memory. */
export const nullText = -1;
export const longText = -2;

/**
 * The texts of one column of a data chunk, as bytes. The binding gives a long text by a call of its own, which costs more than to judge and write
 * a whole row; texts that lie near each other come by one call here.
 *
 * Source: `duckdb_string_t` of duckdb.h.
 */
export class TextVector {
  /** Of each row: in which of the sources its text stands, and where; or what it is instead. */
  readonly sourceOf = new Uint16Array(vectorRowCountMax);
  readonly starts = new Int32Array(vectorRowCountMax);
  readonly ends = new Int32Array(vectorRowCountMax);
  sources: Uint8Array[] = [];
  /** The items as words, four of each row: the length, and a short text, with zeros behind it. */
  words = new Uint32Array(0);
  readonly #there = new Uint8Array(vectorRowCountMax);
  /** Of the long ones: their rows, where they lie, and their lengths. */
  readonly #rows = new Uint16Array(vectorRowCountMax);
  readonly #addresses = new Float64Array(vectorRowCountMax);
  #longCount = 0;
  readonly #pointer = new ArrayBuffer(8);

  /** Takes the first rows of a vector of texts, in place of those before. What it gives is a copy: it stays when the chunk goes. */
  read(vector: duckdb.Vector, rowCount: number): void {
    const data = duckdb.vector_get_data(vector, rowCount * itemBytes);
    const words = new Uint32Array(data.buffer as ArrayBuffer, data.byteOffset, rowCount * (itemBytes / 4));
    this.words = words;
    for (const source of this.sources) letGo(source);
    readValidity(vector, rowCount, this.#there);
    this.sources = [data];
    this.#longCount = 0;
    for (let row = 0; row < rowCount; row += 1) {
      const length = words[row * 4] as number;
      if (this.#there[row] === 0 || length > textBytesMax) {
        this.starts[row] = this.#there[row] === 0 ? nullText : longText;
        continue;
      }
      const start = length > inlineBytesMax ? 0 : row * itemBytes + 4;
      this.sourceOf[row] = 0;
      this.starts[row] = start;
      this.ends[row] = start + length;
      if (length <= inlineBytesMax) continue;
      this.#addresses[row] = (words[row * 4 + 2] as number) + (words[row * 4 + 3] as number) * wordCount;
      this.#rows[this.#longCount++] = row;
    }
    this.#readLong();
  }

  #readLong(): void {
    const rows = this.#rows.subarray(0, this.#longCount);
    let runCount = this.#findRuns(rows);
    if (runCount > runCountMax) {
      const addresses = this.#addresses;
      rows.sort((one, other) => (addresses[one] as number) - (addresses[other] as number));
      runCount = this.#findRuns(rows);
    }
    for (let run = 0, at = 0; run < runCount; run += 1) {
      const [from, to, end] = [runs.from[run] as number, runs.to[run] as number, runs.end[run] as number];
      new DataView(this.#pointer).setBigUint64(0, BigInt(from), true);
      const source = this.sources.push(duckdb.get_data_from_pointer(this.#pointer, 0, to - from)) - 1;
      for (; at < end; at += 1) {
        const row = rows[at] as number;
        const start = (this.#addresses[row] as number) - from;
        this.sourceOf[row] = source;
        this.ends[row] = start + (this.ends[row] as number);
        this.starts[row] = start;
      }
    }
  }

  /**
   * Finds rows whose texts lie beside each other. Between two texts of a run there is less than a page, so that each of its bytes is in a page
   * that one of its texts is in.
   *
   * @returns how many runs there are
   */
  #findRuns(rows: Uint16Array): number {
    let runCount = 0;
    let runFrom = 0;
    let runTo = -pageBytes;
    for (let at = 0; at < rows.length; at += 1) {
      const row = rows[at] as number;
      const from = this.#addresses[row] as number;
      const to = from + (this.ends[row] as number);
      if (from >= runTo + pageBytes || to <= runFrom - pageBytes) {
        runCount += 1;
        runFrom = from;
        runTo = to;
      }
      if (from < runFrom) runFrom = from;
      if (to > runTo) runTo = to;
      runs.from[runCount - 1] = runFrom;
      runs.to[runCount - 1] = runTo;
      runs.end[runCount - 1] = at + 1;
    }
    return runCount;
  }
}

/** As arrays, since a number in an object is an object itself. Of the vector that is being read: where the bytes of each run begin and end, and the place in `rows` behind its last row. */
const runs = {
  from: new Float64Array(vectorRowCountMax),
  to: new Float64Array(vectorRowCountMax),
  end: new Uint16Array(vectorRowCountMax),
};
