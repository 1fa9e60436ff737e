import { FluxError } from '../../errors.ts';
import type { ByteFile } from '../../objects/byte-file.ts';

const sampleBytes = 8192;

/** Beginnings by which a file says what it is. */
const signatures: readonly (readonly [string, readonly number[]])[] = [
  ['a gzip archive', [0x1f, 0x8b]],
  ['a zstd archive', [0x28, 0xb5, 0x2f, 0xfd]],
  ['a ZIP archive or an Office file', [0x50, 0x4b, 0x03, 0x04]],
  ['a Parquet file', [0x50, 0x41, 0x52, 0x31]],
  ['a PDF document', [0x25, 0x50, 0x44, 0x46]],
  ['text in UTF-16', [0xff, 0xfe]],
  ['text in UTF-16', [0xfe, 0xff]],
];

/**
 * Looks at the beginning of a text file.
 *
 * @returns where the text begins: behind the byte order mark, if there is one
 * @throws SOURCE_INVALID it is something else
 */
export function checkText(file: ByteFile, format: string): number {
  const bytes = Buffer.allocUnsafe(sampleBytes);
  const length = file.readSync(bytes, 0, sampleBytes, 0);
  const known = signatures.find(([, signature]) => signature.every((byte, at) => bytes[at] === byte && at < length));
  if (known !== undefined) {
    throw new FluxError(
      'SOURCE_INVALID',
      `Expected ${format} in UTF-8, found ${known[0]}. Declare it (source.format.encoding or compression), convert the source, or correct source.format.`,
    );
  }
  const nul = bytes.subarray(0, length).indexOf(0);
  if (nul !== -1) {
    throw new FluxError(
      'SOURCE_INVALID',
      `Expected ${format} in UTF-8, found binary data (a NUL at byte ${nul}). Correct source.format.`,
    );
  }
  return length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
}
