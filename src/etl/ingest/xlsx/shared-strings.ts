import { closeSync, openSync, writeSync } from 'node:fs';
import { SaxesParser } from 'saxes';
import { type ByteFile, openPlainFile } from '../../../objects/byte-file.ts';
import { XmlSplitter, XmlStructureError } from '../xml/xml-splitter.ts';
import { invalid } from './workbook.ts';

const blockBytes = 64 * 1024;
/** 8 MiB for each of the two files. */
const blockCountMax = 128;
const placeBytes = 8;
const pendingBytesMax = 1 << 20;

/**
 * The texts that cells share by number. There may be millions, so they stand in files beside the sheet, and what is in memory
 * does not depend on how many there are.
 */
export class SharedStrings {
  readonly count: number;
  readonly #texts: BlockFile;
  readonly #places: BlockFile;

  private constructor(made: { count: number; texts: BlockFile; places: BlockFile }) {
    this.count = made.count;
    this.#texts = made.texts;
    this.#places = made.places;
  }

  /**
   * @param path the part's XML
   * @param folder where its files go
   * @throws SOURCE_INVALID it is no list of texts
   */
  static read(path: string, folder: string): SharedStrings {
    const file = openPlainFile(path);
    const [textsPath, placesPath] = [`${folder}/texts`, `${folder}/places`];
    const [texts, places] = [new Appender(textsPath), new Appender(placesPath)];
    let count = 0;
    const note = (): void => {
      const place = Buffer.allocUnsafe(placeBytes);
      place.writeDoubleBE(texts.byteCount);
      places.add(place);
    };
    try {
      const splitter = new XmlSplitter(file, { start: bomBytes(file), end: file.size }, ['sst', 'si']);
      while (splitter.next()) {
        note();
        texts.add(Buffer.from(stringText(splitter.buffer.toString('utf8', splitter.start, splitter.end))));
        count += 1;
      }
      note();
    } catch (cause) {
      if (!(cause instanceof XmlStructureError)) throw cause;
      throw invalid(`holds shared texts that cannot be read: ${cause.message} (byte ${cause.offset})`, cause);
    } finally {
      file.close();
      texts.close();
      places.close();
    }
    return new SharedStrings({ count, texts: new BlockFile(textsPath), places: new BlockFile(placesPath) });
  }

  /** @returns null: there is no such text */
  at(index: number): string | null {
    if (!Number.isInteger(index) || index < 0 || index >= this.count) return null;
    const bounds = this.#places.read(index * placeBytes, 2 * placeBytes);
    const from = bounds.readDoubleBE(0);
    return this.#texts.read(from, bounds.readDoubleBE(placeBytes) - from).toString('utf8');
  }

  close(): void {
    this.#texts.close();
    this.#places.close();
  }
}

/** Nearly all are this and nothing else. */
const plain = /^<si><t(?: xml:space="preserve")?>([^<&]*)<\/t><\/si>$/;

/** The text of an `si` or an `is`: its runs together, without the phonetic ones. */
export function stringText(xml: string): string {
  const simple = plain.exec(xml)?.[1];
  if (simple !== undefined) return unescapeText(simple);
  const parser = new SaxesParser({ fragment: true, position: false });
  const open: string[] = [];
  let text = '';
  parser.on('error', (error) => {
    throw invalid(`holds a text that is no well-formed XML (${error.message.replace(/^undefined:/, '')})`);
  });
  parser.on('opentag', ({ name }) => open.push(name.slice(name.indexOf(':') + 1)));
  parser.on('closetag', () => open.pop());
  const take = (piece: string): void => {
    if (open.at(-1) === 't' && !open.includes('rPh')) text += piece;
  };
  parser.on('text', take);
  parser.on('cdata', take);
  parser.write(xml).close();
  return unescapeText(text);
}

/** `_x000D_` is how a text holds a character that XML does not (ECMA-376 part 1, 22.9.2.19). */
export function unescapeText(text: string): string {
  if (!text.includes('_x')) return text;
  return text.replace(/_x([0-9A-Fa-f]{4})_/g, (_all, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

export function bomBytes(file: ByteFile): number {
  const bytes = Buffer.alloc(3);
  file.readSync(bytes, 0, 3, 0);
  return bytes.equals(Buffer.from([0xef, 0xbb, 0xbf])) ? 3 : 0;
}

class Appender {
  readonly #fd: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  byteCount = 0;

  constructor(path: string) {
    this.#fd = openSync(path, 'wx', 0o600);
  }

  add(bytes: Buffer): void {
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    this.byteCount += bytes.length;
    if (this.#pendingBytes >= pendingBytesMax) this.#flush();
  }

  close(): void {
    this.#flush();
    closeSync(this.#fd);
  }

  #flush(): void {
    const bytes = Buffer.concat(this.#pending);
    for (let written = 0; written < bytes.length;) written += writeSync(this.#fd, bytes, written);
    this.#pending = [];
    this.#pendingBytes = 0;
  }
}

/** Reads pieces of a file through the blocks that were used last. */
class BlockFile {
  readonly #file: ByteFile;
  readonly #blocks = new Map<number, Buffer>();

  constructor(path: string) {
    this.#file = openPlainFile(path);
  }

  read(position: number, length: number): Buffer {
    const first = Math.floor(position / blockBytes);
    const offset = position - first * blockBytes;
    const block = this.#block(first);
    if (offset + length <= block.length) return block.subarray(offset, offset + length);
    const bytes = Buffer.allocUnsafe(length);
    let read = 0;
    while (read < length) read += this.#file.readSync(bytes, read, length - read, position + read);
    return bytes;
  }

  close(): void {
    this.#file.close();
  }

  #block(at: number): Buffer {
    const known = this.#blocks.get(at);
    if (known !== undefined) {
      this.#blocks.delete(at);
      this.#blocks.set(at, known);
      return known;
    }
    const bytes = Buffer.allocUnsafe(blockBytes);
    const block = bytes.subarray(0, this.#file.readSync(bytes, 0, blockBytes, at * blockBytes));
    this.#blocks.set(at, block);
    if (this.#blocks.size > blockCountMax) this.#blocks.delete(this.#blocks.keys().next().value as number);
    return block;
  }
}
