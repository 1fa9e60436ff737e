import { strToU8, zipSync, type ZipOptions } from 'fflate';

/** What a hand-made workbook holds; everything but the sheet has a default. */
export interface WorkbookParts {
  /** The rows' XML. */
  rows: string;
  /** Texts that cells share: each an `si`'s content. */
  strings?: readonly string[];
  /** Number formats of the cell styles 1, 2, …; style 0 is General. */
  formats?: readonly string[];
  workbookPr?: string;
  /** Other parts, or these in another shape. */
  more?: Readonly<Record<string, string | Uint8Array>>;
  options?: ZipOptions;
}

const main = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main';
const office = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships';
const packages = 'http://schemas.openxmlformats.org/package/2006/relationships';

const relations = (list: readonly (readonly [string, string, string])[]): string =>
  `<Relationships xmlns="${packages}">${list
    .map(([id, type, target]) => `<Relationship Id="${id}" Type="${office}/${type}" Target="${target}"/>`)
    .join('')}</Relationships>`;

/** The bytes of a workbook with two sheets, `Data` and `Other`; the parts are those that a reader needs. */
export function workbookOf({ rows, strings = [], formats = [], workbookPr = '', more = {}, options }: WorkbookParts) {
  const sheet = (content: string): string =>
    `<?xml version="1.0" encoding="UTF-8"?><worksheet xmlns="${main}"><sheetData>${content}</sheetData></worksheet>`;
  const codes = formats.map(
    (code, at) => `<numFmt numFmtId="${164 + at}" formatCode="${code.replaceAll('"', '&quot;')}"/>`,
  );
  const styles = formats.map((_code, at) => `<xf numFmtId="${164 + at}"/>`);
  const parts: Record<string, string | Uint8Array> = {
    '_rels/.rels': relations([['r1', 'officeDocument', 'xl/workbook.xml']]),
    'xl/workbook.xml': `<workbook xmlns="${main}" xmlns:r="${office}"><workbookPr ${workbookPr}/><sheets><sheet name="Data" sheetId="1" r:id="s1"/><sheet name="Other" sheetId="2" r:id="s2"/></sheets></workbook>`,
    'xl/_rels/workbook.xml.rels': relations([
      ['s1', 'worksheet', 'worksheets/sheet1.xml'],
      ['s2', 'worksheet', '/xl/worksheets/sheet2.xml'],
      ['s3', 'sharedStrings', 'sharedStrings.xml'],
      ['s4', 'styles', 'styles.xml'],
    ]),
    'xl/worksheets/sheet1.xml': sheet(rows),
    'xl/worksheets/sheet2.xml': sheet(
      '<row r="1"><c r="A1" t="inlineStr"><is><t>other</t></is></c></row><row r="2"><c r="A2"><v>7</v></c></row>',
    ),
    'xl/sharedStrings.xml': `<sst xmlns="${main}">${strings.map((text) => `<si>${text}</si>`).join('')}</sst>`,
    'xl/styles.xml': `<styleSheet xmlns="${main}"><numFmts>${codes.join('')}</numFmts><cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/>${styles.join('')}</cellXfs></styleSheet>`,
    ...more,
  };
  const bytes = Object.fromEntries(
    Object.entries(parts).map(([name, content]) => [name, typeof content === 'string' ? strToU8(content) : content]),
  );
  return zipSync(bytes, options);
}

/** A row of cells that hold texts or numbers. */
export function row(number: number, cells: readonly (string | number | null)[]): string {
  const content = cells.map((cell, at) => {
    const reference = `${String.fromCharCode(65 + at)}${number}`;
    if (cell === null) return `<c r="${reference}" s="1"/>`;
    if (typeof cell === 'number') return `<c r="${reference}"><v>${cell}</v></c>`;
    return `<c r="${reference}" t="inlineStr"><is><t>${cell}</t></is></c>`;
  });
  return `<row r="${number}">${content.join('')}</row>`;
}
