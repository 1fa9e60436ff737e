import type { ByteFile } from '../../../objects/byte-file.ts';
import type { RecordWalk } from '../decoded-reader.ts';
import { XmlSplitter } from '../xml/xml-splitter.ts';
import { bomBytes } from './shared-strings.ts';
import { columnOf } from './row-cells.ts';
import { invalid } from './workbook.ts';

/** The part of a sheet that is read; columns from 0, rows from 1, both ends in it. */
export interface SheetRange {
  columns: readonly [number, number];
  rows: readonly [number, number];
}

/** @param text `A3:F200`, or null @throws SOURCE_INVALID no sheet has such a range */
export function readRange(text: string | null): SheetRange | null {
  if (text === null) return null;
  const [from = '', to = ''] = text.split(':');
  const [first, last] = [columnOf(from), columnOf(to)];
  const [top, bottom] = [from, to].map((each) => Number(each.replace(/\D/g, ''))) as [number, number];
  if (first === null || last === null || last < first || bottom < top)
    throw invalid(`cannot hold the range ${text}. Correct source.format.range.`);
  return { columns: [first, last], rows: [top, bottom] };
}

const [greaterThan, lessThan] = [0x3e, 0x3c];

/** Goes from row to row of a sheet's XML; rows with nothing in them, and those outside of the range, are passed over. */
export class SheetWalk implements RecordWalk {
  readonly #splitter: XmlSplitter;
  readonly #range: SheetRange | null;

  /** @param offset 0, or a place between rows */
  constructor(file: ByteFile, offset: number, range: SheetRange | null, blockBytes?: number) {
    const begin = Math.max(offset, bomBytes(file));
    const inside = offset > begin || offset > 3;
    this.#splitter = new XmlSplitter(file, { start: begin, end: file.size }, ['worksheet', 'sheetData', 'row'], {
      inside,
      blockBytes,
    });
    this.#range = range;
  }

  get buffer(): Buffer {
    return this.#splitter.buffer;
  }

  get start(): number {
    return this.#splitter.start;
  }

  get end(): number {
    return this.#splitter.end;
  }

  get offset(): number {
    return this.#splitter.offset;
  }

  get nextOffset(): number {
    return this.#splitter.nextOffset;
  }

  next(): boolean {
    while (this.#splitter.next()) {
      if (hasContent(this.buffer, this.start, this.end) && this.#isInRange()) return true;
    }
    return false;
  }

  #isInRange(): boolean {
    if (this.#range === null) return true;
    const head = this.buffer.toString('latin1', this.start, Math.min(this.end, this.start + 512));
    const number = /^<[^>]*?\sr\s*=\s*["'](\d+)["']/.exec(head)?.[1];
    if (number === undefined) {
      throw invalid('does not number its rows, so that a range cannot be found. Leave source.format.range out.');
    }
    const [top, bottom] = this.#range.rows;
    return Number(number) >= top && Number(number) <= bottom;
  }
}

/** Whether anything but tags and blanks stands in it: a row of styled, empty cells holds nothing. */
function hasContent(buffer: Buffer, start: number, end: number): boolean {
  for (let at = buffer.indexOf(greaterThan, start); at !== -1 && at < end - 1; at = buffer.indexOf(greaterThan, at)) {
    at += 1;
    while (at < end && (buffer[at] as number) <= 0x20) at += 1;
    if (at < end && buffer[at] !== lessThan) return true;
  }
  return false;
}
