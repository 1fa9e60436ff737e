import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import { SaxesParser } from 'saxes';
import yauzl, { type Entry, type ZipFile } from 'yauzl';
import { FluxError } from '../../../errors.ts';
import type { GrowthLimits } from '../../decompressed-copy.ts';
import { intoNewFile } from '../../into-new-file.ts';
import { type DateStyle, dateStyleOf } from './cell-dates.ts';

/** A workbook's sheet, out of its archive: files beside each other that only this user may read. */
export interface ExtractedSheet {
  name: string;
  /** The sheet's XML. */
  sheetPath: string;
  /** The XML of texts that cells share; null where there are none. */
  stringsPath: string | null;
  /** By the index that cells name. */
  styles: readonly DateStyle[];
  from1904: boolean;
}

/** Files in one archive; a workbook has some dozens. */
const entryCountMax = 10_000;
/** Bytes of each part that is read as a whole; tens of thousands of styles take less. */
const partBytesMax = 16 * 2 ** 20;
/** Up to here the ratio says nothing. */
const ratioFreeBytes = 16 * 2 ** 20;

interface Element {
  name: string;
  attributes: Readonly<Record<string, string>>;
}

/**
 * Takes one sheet out of an XLSX file (ECMA-376, both its namespaces). Nothing is kept in memory but the list of parts, and everything
 * ends at the limits, as soon as it passes them.
 *
 * @param sheet its name; null: the first
 * @param folder where the parts go
 * @throws SOURCE_INVALID no XLSX file, a damaged one, one under a password, one without the sheet, one that grows beyond the limits
 */
export async function extractSheet(
  path: string,
  { sheet, folder, limits }: { sheet: string | null; folder: string; limits: GrowthLimits },
): Promise<ExtractedSheet> {
  const archive = await openArchive(path);
  try {
    const workbookPart = await archive.target('_rels/.rels', '', /\/officeDocument$/);
    const elements = await archive.elements(workbookPart ?? 'xl/workbook.xml');
    const sheets = elements.filter(({ name }) => name === 'sheet').map(({ attributes }) => attributes);
    const chosen = sheet === null ? sheets[0] : sheets.find(({ name }) => name === sheet);
    if (chosen === undefined) {
      const names = sheets.slice(0, 20).map(({ name }) => `"${String(name)}"`);
      throw invalid(
        `has no sheet "${String(sheet)}". Found: ${names.join(', ') || 'none'}. Correct source.format.sheet.`,
      );
    }
    const base = workbookPart ?? 'xl/workbook.xml';
    const relations = relationsPath(base);
    const relation = Object.entries(chosen).find(([name]) => name === 'id' || name.endsWith(':id'))?.[1];
    const sheetPart = await archive.target(relations, base, null, relation);
    if (sheetPart === null) throw invalid(`does not say where its sheet "${String(chosen['name'])}" stands`);
    const stringsPart = await archive.target(relations, base, /\/sharedStrings$/);
    const stylesPart = await archive.target(relations, base, /\/styles$/);
    const properties = elements.find(({ name }) => name === 'workbookPr')?.attributes ?? {};
    const sheetPath = `${folder}/sheet.xml`;
    const stringsPath = stringsPart === null ? null : `${folder}/strings.xml`;
    await archive.extract(sheetPart, sheetPath, limits);
    if (stringsPart !== null) await archive.extract(stringsPart, stringsPath as string, limits);
    return {
      name: String(chosen['name']),
      sheetPath,
      stringsPath,
      styles: stylesPart === null ? [] : cellStyles(await archive.elements(stylesPart)),
      from1904: /^(?:1|true|on)$/.test(properties['date1904'] ?? ''),
    };
  } catch (cause) {
    throw named(cause);
  } finally {
    archive.close();
  }
}

interface Archive {
  /** The start tags of a part, in order. */
  elements(part: string): Promise<Element[]>;
  extract(part: string, to: string, limits: GrowthLimits): Promise<void>;
  /** Where a relation of a part leads, by its type or its id; null: there is none. */
  target(relations: string, from: string, type: RegExp | null, id?: string): Promise<string | null>;
  close(): void;
}

async function openArchive(path: string): Promise<Archive> {
  const zip = await yauzl.openPromise(path, { autoClose: false, lazyEntries: true }).catch((cause: unknown) => {
    throw named(cause);
  });
  const parts = new Map<string, Entry>();
  try {
    for await (const entry of zip.eachEntry()) {
      // Names are compared without case (ECMA-376 part 2).
      const name = entry.fileName.toLowerCase();
      if (parts.has(name)) throw invalid(`holds two parts "${entry.fileName}"`);
      parts.set(name, entry);
      if (parts.size > entryCountMax) throw invalid(`holds more than ${entryCountMax} parts`);
    }
  } catch (cause) {
    zip.close();
    throw named(cause);
  }
  const entryOf = (part: string): Entry => {
    const entry = parts.get(part.toLowerCase());
    if (entry === undefined) throw invalid(`holds no part "${part}"`);
    return entry;
  };
  const elements = async (part: string): Promise<Element[]> => startTags(await readPart(zip, entryOf(part)), part);
  return {
    elements,
    extract: (part, to, limits) => extractPart(zip, entryOf(part), to, limits),
    async target(relations, from, type, id) {
      if (!parts.has(relations.toLowerCase())) return null;
      const all = (await elements(relations)).filter(({ name }) => name === 'Relationship');
      const found = all.find(
        ({ attributes }) =>
          (type?.test(attributes['Type'] ?? '') ?? true) && (id === undefined || attributes['Id'] === id),
      );
      const to = found?.attributes['Target'];
      // A relation may also lead out of the file; nothing is ever fetched.
      if (to === undefined || found?.attributes['TargetMode'] === 'External') return null;
      return resolvePart(from, to);
    },
    close: () => zip.close(),
  };
}

async function readPart(zip: ZipFile, entry: Entry): Promise<string> {
  const pieces: Buffer[] = [];
  let byteCount = 0;
  let checksum = 0;
  for await (const piece of (await zip.openReadStreamPromise(entry)) as AsyncIterable<Buffer>) {
    byteCount += piece.length;
    if (byteCount > partBytesMax) throw invalid(`holds a part "${entry.fileName}" of more than ${partBytesMax} bytes`);
    checksum = crc32(piece, checksum);
    pieces.push(piece);
  }
  requireChecksum(entry, checksum);
  return Buffer.concat(pieces).toString('utf8');
}

async function extractPart(zip: ZipFile, entry: Entry, to: string, limits: GrowthLimits): Promise<void> {
  const { byteCountMax, ratioMax } = limits;
  let byteCount = 0;
  let checksum = 0;
  const bounded = async function* (pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const piece of pieces) {
      byteCount += piece.length;
      if (byteCount > byteCountMax)
        throw invalid(
          `holds a part "${entry.fileName}" of more than ${byteCountMax} bytes. Split it into smaller files.`,
        );
      if (byteCount > ratioFreeBytes && byteCount > entry.compressedSize * ratioMax)
        throw invalid(
          `holds a part "${entry.fileName}" that grows to more than ${ratioMax} times its ${entry.compressedSize} bytes, which only a decompression bomb does`,
        );
      checksum = crc32(piece, checksum);
      yield piece;
    }
    requireChecksum(entry, checksum);
  };
  const content: Readable = await zip.openReadStreamPromise(entry);
  await intoNewFile(to, (file) => pipeline(content, bounded, file));
}

/** The library leaves that to its users. */
function requireChecksum({ crc32: expected, fileName }: Entry, found: number): void {
  if (found !== expected) throw invalid(`is damaged (the checksum of its part "${fileName}" is another)`);
}

/** @param xml a small part. Entities are never expanded; a document type is not looked at. */
function startTags(xml: string, part: string): Element[] {
  const parser = new SaxesParser({ position: false });
  const found: Element[] = [];
  parser.on('error', (error) => {
    throw invalid(`holds a part "${part}" that is no well-formed XML (${error.message.replace(/^undefined:/, '')})`);
  });
  parser.on('opentag', ({ name, attributes }) => {
    found.push({ name: name.slice(name.indexOf(':') + 1), attributes: attributes as Record<string, string> });
  });
  parser.write(xml.replace(/^\ufeff/, '')).close();
  return found;
}

function cellStyles(elements: readonly Element[]): DateStyle[] {
  const codes = new Map<number, string>();
  const styles: DateStyle[] = [];
  // `cellStyleXfs` comes before and holds elements of the same name; only what follows `cellXfs` is meant.
  let counting = false;
  for (const { name, attributes } of elements) {
    if (name === 'numFmt') codes.set(Number(attributes['numFmtId']), attributes['formatCode'] ?? '');
    else if (name === 'cellXfs') counting = true;
    else if (counting && name === 'xf') {
      const id = Number(attributes['numFmtId'] ?? 0);
      styles.push(dateStyleOf(id, codes.get(id)));
    } else if (name === 'cellStyles' || name === 'dxfs') counting = false;
  }
  return styles;
}

/** `xl/_rels/workbook.xml.rels` of `xl/workbook.xml`. */
function relationsPath(part: string): string {
  const cut = part.lastIndexOf('/') + 1;
  return `${part.slice(0, cut)}_rels/${part.slice(cut)}.rels`;
}

/** Where a target leads from a part, without a slash in front, and never out of the archive. */
function resolvePart(from: string, target: string): string {
  return decodeURIComponent(new URL(target, `part://archive/${from}`).pathname.slice(1));
}

export function invalid(problem: string, cause?: unknown): FluxError {
  const message = `The XLSX file ${problem}`;
  return new FluxError('SOURCE_INVALID', /[.!]$/.test(message) ? message : `${message}. Correct the source.`, {
    ...(cause === undefined ? {} : { cause }),
  });
}

/** What the library says of a damaged archive, in the file's words. */
function named(cause: unknown): unknown {
  if (cause instanceof FluxError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code !== undefined && !/^(?:Z_|ERR_)/.test(code)) return cause;
  const [line = ''] = message.split('\n');
  if (/end of central directory/i.test(line)) {
    return new FluxError(
      'SOURCE_INVALID',
      'Expected an XLSX file, found something else (no ZIP archive). A workbook under a password, or one in the older XLS format, has to be saved as XLSX first.',
      { cause },
    );
  }
  return invalid(`is damaged (${line.slice(0, 200)})`, cause);
}
