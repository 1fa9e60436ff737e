import { readCopybook } from '../../../contracts/copybook/record-layout.ts';
import { FluxError } from '../../../errors.ts';
import type { ByteFile } from '../../../objects/byte-file.ts';
import type { ContractModel } from '../contract-model.ts';
import { DecodedReader } from '../decoded-reader.ts';
import { rawCharacterCountMax } from '../limits.ts';
import { showRaw } from '../raw-text.ts';
import { FixedLengthWalk, surveyFixedLength, VariableLengthWalk } from '../record-walks.ts';
import { BlockedWalk, Blocks } from './blocked-walk.ts';
import { codePage, codePageNames, type CodePageName } from './code-pages.ts';
import { selectFields } from './mainframe-columns.ts';
import { RecordDecoder } from './record-decoder.ts';

/** `source.format` of type mainframe. */
export interface MainframeFormat {
  copybook: string;
  codePage: string;
  records: string;
}

/**
 * Reads EBCDIC records by a copybook.
 *
 * @throws INVALID_INPUT the copybook; SOURCE_INVALID the contract names what the copybook does not
 */
export function openMainframeReader(
  file: ByteFile,
  format: MainframeFormat,
  model: ContractModel | null,
  workFolder: string,
): DecodedReader {
  const page = codePageNames.find((name) => name === format.codePage);
  if (page === undefined) {
    throw new FluxError(
      'INVALID_INPUT',
      `Expected one of the code pages ${codePageNames.join(', ')}, found "${format.codePage}".`,
    );
  }
  const layout = readCopybook(format.copybook);
  const { selected, columns } = selectFields(layout, model);
  const decoder = new RecordDecoder(layout, selected, page);
  const { length } = layout;
  const fixed = format.records === 'fixed';
  const spanned = format.records === 'spanned';
  const blocks = new Blocks(file);
  const placed = {
    columns,
    cellCount: selected.length,
    firstOffset: 0,
    walk(from: { offset: number; record: number }, blockBytes?: number) {
      if (fixed) return new FixedLengthWalk(file, from, { length, blockBytes });
      if (format.records === 'variable') return new VariableLengthWalk(file, from, blockBytes);
      return new BlockedWalk(file, blocks, { from, spanned });
    },
    decode: decoder.decode.bind(decoder),
    rowBytesMax: () => decoder.rowBytesMax,
    show: rawShower(page),
    survey: (markEvery: number) =>
      fixed ? surveyFixedLength({ size: file.size, firstOffset: 0, length }, markEvery) : null,
  };
  return new DecodedReader(file, placed, workFolder);
}

/** The record as text where it is text; otherwise its bytes in hexadecimal, since a picture of packed digits tells nothing. */
function rawShower(page: CodePageName): (bytes: Buffer) => string {
  const codePoints = codePage(page);
  const isPrintable = (point: number): boolean => point >= 0x20 && (point < 0x7f || point >= 0xa0);
  return (bytes) => {
    const points = Array.from(bytes.subarray(0, rawCharacterCountMax), (byte) => codePoints[byte] as number);
    if (points.every(isPrintable)) return showRaw(points.map((point) => String.fromCharCode(point)).join(''));
    return showRaw(`X"${bytes.subarray(0, rawCharacterCountMax).toString('hex').toUpperCase()}"`);
  };
}
