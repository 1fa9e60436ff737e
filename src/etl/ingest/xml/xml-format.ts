import { FluxError } from '../../../errors.ts';
import type { ByteFile } from '../../../objects/byte-file.ts';
import { checkText } from '../encoding-check.ts';
import { documentColumns } from '../json-reader.ts';
import type { JudgedFormat, ReadContract } from '../judged-reader.ts';
import { showRaw } from '../raw-text.ts';
import { expectedRecord } from '../typed-text.ts';
import { parseXmlRecord } from './xml-record.ts';
import { pathNames, XmlSplitter, XmlStructureError } from './xml-splitter.ts';

export interface XmlLayout {
  /** JSON Pointer of element names, from the root down. */
  recordPath: string;
  /** The pipeline says how the text is written, so that the document's own word for it does not count. */
  encodingDeclared: boolean;
}

/**
 * Records are the elements at a path; other elements around them are passed over. Well-formedness is checked of the whole document in
 * the survey, and of each record when it is read.
 *
 * @throws SOURCE_INVALID the file is no text in UTF-8, or says that it is XML 1.1
 */
export function xmlFormat(file: ByteFile, layout: XmlLayout, contract: ReadContract | null): JudgedFormat {
  const begin = checkText(file, 'XML');
  checkDeclaration(file, begin, layout);
  const path = pathNames(layout.recordPath);
  const { columns, fields } = documentColumns(contract);
  const expected = expectedRecord(fields);
  const splitterFrom = (start: number, inside: boolean, blockBytes?: number): XmlSplitter =>
    new XmlSplitter(file, { start, end: file.size }, path, { inside, blockBytes });
  const parse: JudgedFormat['parse'] = (bytes) => parseXmlRecord(bytes, expected);
  return {
    columns,
    fields,
    firstOffset: begin,
    whole() {
      const splitter = splitterFrom(begin, false);
      return { walk: splitter, finish: () => requireFound(splitter, layout.recordPath) };
    },
    from: (offset, _atRecord, blockBytes) => splitterFrom(offset, offset > begin, blockBytes),
    parse,
    // As JSON where it can be read, so that its fields can be masked one by one.
    show(bytes) {
      const parsed = parse(bytes);
      return showRaw('text' in parsed ? parsed.text : bytes.toString('utf8'));
    },
    sourceError(cause) {
      if (!(cause instanceof XmlStructureError)) return null;
      const message = `${cause.message} (byte ${cause.offset}). Correct the source or source.format.`;
      return new FluxError('SOURCE_INVALID', message, { cause });
    },
  };
}

/** Of a document without a record it says what stands where they were expected. */
function requireFound({ recordCount, seenNames }: XmlSplitter, recordPath: string): void {
  if (recordCount > 0) return;
  const found = seenNames.length === 0 ? 'no element' : seenNames.map((name) => `"${name}"`).join(', ');
  throw new FluxError(
    'SOURCE_INVALID',
    `The source holds no record: expected elements at ${recordPath}, found ${found}. Correct source.format.recordPath or the source.`,
  );
}

const utf8Names = new Set(['utf-8', 'utf8', 'us-ascii', 'ascii']);

function checkDeclaration(file: ByteFile, begin: number, { encodingDeclared }: XmlLayout): void {
  const bytes = Buffer.allocUnsafe(512);
  const head = bytes.toString('latin1', 0, file.readSync(bytes, 0, bytes.length, begin));
  const declaration = /^<\?xml\s([^?]*)\?>/.exec(head)?.[1] ?? '';
  const [, version] = /\bversion\s*=\s*["']([^"']*)["']/.exec(declaration) ?? [];
  if (version !== undefined && version !== '1.0') {
    throw new FluxError('SOURCE_INVALID', `Expected XML 1.0, found version ${version}. Convert the source.`);
  }
  const [, encoding] = /\bencoding\s*=\s*["']([^"']*)["']/.exec(declaration) ?? [];
  if (encoding === undefined || encodingDeclared || utf8Names.has(encoding.toLowerCase())) return;
  throw new FluxError(
    'SOURCE_INVALID',
    `Expected XML in UTF-8, and the document says that it is ${encoding}. Declare it (source.format.encoding), or convert the source.`,
  );
}
