import type { Encoding, RecordField } from '../../../contracts/copybook/record-layout.ts';
import { binaryDecoder } from './binary-decoder.ts';
import { codePage, type CodePageName } from './code-pages.ts';
import { badByteAt, type FieldDecoder } from './field-decoder.ts';
import { packedDecoder } from './packed-decoder.ts';
import { zonedDecoder } from './zoned-decoder.ts';

export interface DecoderOptions {
  codePage: CodePageName;
  /** Numbers keep the leading zeros that their picture has, because somebody takes them for text. */
  padded: boolean;
}

const blank = 0x40;
const lowValue = 0x00;

/** The most bytes that a cell can take: three of UTF-8 for a byte, a digit for each half byte. */
export function cellBytesMax({ length }: RecordField): number {
  return length * 3 + 24;
}

export function fieldDecoder(field: RecordField, options: DecoderOptions): FieldDecoder {
  const { encoding, length } = field;
  if (encoding.kind === 'text') return textDecoder(length, options.codePage);
  if (encoding.kind === 'zoned') return zonedDecoder(encoding, options.padded);
  if (encoding.kind === 'packed') return packedDecoder(encoding, options.padded);
  return binaryDecoder(encoding, length, options.padded);
}

/** Words for a person who looks at a bad field. */
export function describeEncoding(encoding: Encoding): string {
  if (encoding.kind === 'text') return 'text without low values (X"00") in its middle';
  const digits = `${encoding.digits} digits`;
  if (encoding.kind === 'packed') return `packed decimal of ${digits}${encoding.signed ? '' : ' without sign'}`;
  if (encoding.kind === 'binary') return `binary of ${digits}${encoding.native ? '' : ' (COMP-5 would allow more)'}`;
  const place = encoding.leading ? 'leading' : 'trailing';
  const sign = encoding.signed ? ` with a ${place}${encoding.separate ? ' separate' : ''} sign` : ' without sign';
  return `zoned decimal of ${digits}${sign}`;
}

/** Blanks and low values at the end are padding; what is nothing else is absent. */
function textDecoder(length: number, name: CodePageName): FieldDecoder {
  const codePoints = codePage(name);
  // 0 sends a byte the slow way: NUL, the quote, and what takes more than one byte of UTF-8.
  const ascii = Uint8Array.from(codePoints, (point) => (point < 0x80 && point !== 34 ? point : 0));
  return (source, at, buffer, begin) => {
    let end = at + length;
    while (end > at && (source[end - 1] === blank || source[end - 1] === lowValue)) end -= 1;
    if (end === at) return begin;
    let used = begin;
    buffer[used++] = 34;
    for (let each = at; each < end; each += 1) {
      const byte = source[each] as number;
      const letter = ascii[byte] as number;
      if (letter !== 0) {
        buffer[used++] = letter;
        continue;
      }
      const point = codePoints[byte] as number;
      if (point === 0) return badByteAt(each);
      if (point === 34) {
        buffer[used++] = 34;
        buffer[used++] = 34;
      } else if (point < 0x800) {
        buffer[used++] = 0xc0 | (point >> 6);
        buffer[used++] = 0x80 | (point & 0x3f);
      } else {
        buffer[used++] = 0xe0 | (point >> 12);
        buffer[used++] = 0x80 | ((point >> 6) & 0x3f);
        buffer[used++] = 0x80 | (point & 0x3f);
      }
    }
    buffer[used++] = 34;
    return used;
  };
}
