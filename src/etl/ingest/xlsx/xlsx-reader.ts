import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { openPlainFile } from '../../../objects/byte-file.ts';
import { growthLimitsDefault } from '../../decompressed-copy.ts';
import type { ChildJob } from '../../protocol.ts';
import { jsonColumns, plainTextColumns } from '../columns.ts';
import { JudgedReader, type JudgedFormat, type ReadContract } from '../judged-reader.ts';
import { showRaw } from '../raw-text.ts';
import { RuleModes } from '../rule-modes.ts';
import { XmlStructureError } from '../xml/xml-splitter.ts';
import { matchHeadings, readHeadings } from './headings.ts';
import { recordOf, shownRecord } from './row-record.ts';
import { SharedStrings } from './shared-strings.ts';
import { readRange, SheetWalk } from './sheet-walk.ts';
import { extractSheet, invalid } from './workbook.ts';

export interface XlsxFormat {
  /** null: the first. */
  sheet: string | null;
  /** The first row that holds something names the columns. */
  header: boolean;
  /** Names in order; with a header they must be the header's. */
  columns: readonly string[] | null;
  /** `A3:F200`; null: the whole sheet. */
  range: string | null;
}

/**
 * Reads one sheet. Its XML comes out of the archive once, into the step's own folder, and is then read by places like any text; a row with
 * something in it is a record.
 *
 * @throws SOURCE_INVALID no XLSX file, a damaged one, a sheet or a heading that is not as expected
 */
export async function openXlsxReader(
  job: ChildJob,
  format: XlsxFormat,
  contract: ReadContract | null,
): Promise<JudgedReader> {
  const folder = job.workFolder;
  const limits = job.growthLimits ?? growthLimitsDefault;
  const sheet = await extractSheet(job.objectPath, { sheet: format.sheet, folder, limits });
  const strings = sheet.stringsPath === null ? null : SharedStrings.read(sheet.stringsPath, folder);
  if (sheet.stringsPath !== null) rmSync(sheet.stringsPath);
  const file = openPlainFile(join(folder, 'sheet.xml'));
  const range = readRange(format.range);
  const context = { strings, styles: sheet.styles };
  const read = (work: () => { names: readonly string[]; firstOffset: number }) => {
    try {
      return work();
    } catch (cause) {
      throw structureError(cause, sheet.name) ?? cause;
    }
  };
  const { names, firstOffset } = read(() => readHeadings(file, { format, range, context, from1904: sheet.from1904 }));
  const targets = matchHeadings(names, contract?.model ?? null);
  const fields = contract?.model.fields ?? targets.flatMap(({ field }) => field ?? []);
  const reading = { targets, context, from1904: sheet.from1904, range };
  const judged: JudgedFormat = {
    fields,
    columns: contract === null ? plainTextColumns(names) : jsonColumns(contract.model),
    firstOffset,
    whole: () => ({ walk: new SheetWalk(file, firstOffset, range), finish: () => undefined }),
    from: (offset, _atRecord, blockBytes) => new SheetWalk(file, offset, range, blockBytes),
    parse: (bytes) => recordOf(bytes, reading),
    show: (bytes) => showRaw(shownRecord(bytes, reading)),
    sourceError: (cause) => structureError(cause, sheet.name),
    bytesBefore: (offset) => Math.round((job.objectByteCount * offset) / Math.max(file.size, 1)),
    close: () => strings?.close(),
  };
  const modes = new RuleModes(job.definition.contract);
  return new JudgedReader(file, judged, {
    check: contract?.check ?? null,
    modes,
    workFolder: folder,
    since: job.since ?? null,
  });
}

function structureError(cause: unknown, sheet: string) {
  if (!(cause instanceof XmlStructureError)) return null;
  return invalid(
    `holds a sheet "${sheet}" that cannot be read: ${cause.message} (byte ${cause.offset} of its XML)`,
    cause,
  );
}
