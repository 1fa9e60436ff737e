import type { ByteFile } from '../../objects/byte-file.ts';
import { rawCharacterCountMax } from './limits.ts';

/** Where the records of one batch stand in the object, so that a rejected one can be shown in its own words. */
export class RecordPlaces {
  readonly #file: ByteFile;
  readonly #first: number;
  readonly #offsets: Float64Array;
  readonly #sizes: Uint32Array;
  count = 0;

  /** @param first number of the first record */
  constructor(file: ByteFile, first: number, capacity: number) {
    this.#file = file;
    this.#first = first;
    this.#offsets = new Float64Array(capacity);
    this.#sizes = new Uint32Array(capacity);
  }

  add(offset: number, size: number): void {
    this.#offsets[this.count] = offset;
    this.#sizes[this.count] = size;
    this.count += 1;
  }

  rawOf(recordNo: number): { raw: string | null; byteOffset: number | null } {
    const at = recordNo - this.#first;
    if (at < 0 || at >= this.count) return { raw: null, byteOffset: null };
    const byteOffset = this.#offsets[at] ?? 0;
    const size = Math.min(this.#sizes[at] ?? 0, rawCharacterCountMax * 4);
    const bytes = Buffer.allocUnsafe(size);
    const read = this.#file.readSync(bytes, 0, size, byteOffset);
    return { raw: showRaw(bytes.toString('utf8', 0, read)), byteOffset };
  }
}

/** Text that Postgres can hold, shortened. NUL becomes its picture, broken UTF-8 has become U+FFFD. */
export function showRaw(text: string): string {
  const shown = text.replaceAll('\0', '\u2400').toWellFormed();
  return shown.length <= rawCharacterCountMax ? shown : `${shown.slice(0, rawCharacterCountMax).toWellFormed()}…`;
}
