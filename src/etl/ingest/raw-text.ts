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
    const place = this.placeOf(recordNo);
    if (place === null) return { raw: null, byteOffset: null };
    const bytes = this.read({ ...place, size: Math.min(place.size, rawCharacterCountMax * 4) });
    return { raw: showRaw(bytes.toString('utf8')), byteOffset: place.offset };
  }

  /** @returns null when the batch does not hold the record */
  placeOf(recordNo: number): { offset: number; size: number } | null {
    const at = recordNo - this.#first;
    if (at < 0 || at >= this.count) return null;
    return { offset: this.#offsets[at] ?? 0, size: this.#sizes[at] ?? 0 };
  }

  read({ offset, size }: { offset: number; size: number }): Buffer {
    const bytes = Buffer.allocUnsafe(size);
    return bytes.subarray(0, this.#file.readSync(bytes, 0, size, offset));
  }
}

/** Text that Postgres can hold, shortened. NUL becomes its picture, broken UTF-8 has become U+FFFD. */
export function showRaw(text: string): string {
  const shown = text.replaceAll('\0', '\u2400').toWellFormed();
  return shown.length <= rawCharacterCountMax ? shown : `${shown.slice(0, rawCharacterCountMax).toWellFormed()}…`;
}
