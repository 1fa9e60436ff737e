import { FluxError } from '../../errors.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import { ident, literal } from '../duckdb/sql-text.ts';
import type { OutputType } from '../engine-types.ts';
import type { EvolvedField } from '../evolved-contract.ts';
import type { CopyRows } from '../sure/copy-rows.ts';
import { SureVectors } from '../sure/sure-vectors.ts';
import { parquetColumns, type RecordColumns } from './columns.ts';
import type { ContractModel } from './contract-model.ts';
import { cell } from './lexical.ts';
import type { Chunk, RangeRequest, SourceReader, Stretch, Survey } from './reader.ts';
import { SureRange } from './sure-range.ts';
import { SurveyMarks } from './survey-marks.ts';

/** Reads Parquet by row ranges: DuckDB prunes row groups, so that a range costs what it holds. */
export class ParquetReader implements SourceReader {
  readonly columns: RecordColumns;
  readonly sample: string;
  readonly rawJson = true;
  readonly #session: DuckDbSession;
  readonly #path: string;
  readonly #source: string;
  readonly #file: readonly { name: string; type: string }[];
  #sure: SureVectors | null = null;
  #range: SureRange | null = null;
  readonly #byteCount: number;
  readonly #rowCount: number;
  #row = 0;
  #endRow = 0;

  private constructor(made: {
    session: DuckDbSession;
    path: string;
    columns: RecordColumns;
    file: readonly { name: string; type: string }[];
    byteCount: number;
    rowCount: number;
  }) {
    this.#session = made.session;
    this.#path = literal(made.path);
    this.#source = `read_parquet(${this.#path}, file_row_number = true)`;
    this.#file = made.file;
    this.#byteCount = made.byteCount;
    this.#rowCount = made.rowCount;
    this.columns = made.columns;
    this.sample = `${this.#select()} limit 0`;
  }

  static async open(
    session: DuckDbSession,
    { path, byteCount }: { path: string; byteCount: number },
    model: ContractModel | null,
  ): Promise<ParquetReader> {
    const file = await readable(() => session.describe(`select * from read_parquet(${literal(path)})`));
    const [counted] = await readable(() =>
      session.rows(`select sum(num_rows)::bigint from parquet_file_metadata(${literal(path)})`),
    );
    if (model !== null)
      checkNames(
        model,
        file.map(({ name }) => name),
      );
    const columns = parquetColumns(model, file);
    return new ParquetReader({ session, path, columns, file, byteCount, rowCount: Number(counted?.[0] ?? 0) });
  }

  beSure(types: readonly OutputType[], rows: CopyRows): void {
    this.#sure = SureVectors.of(this.columns, this.#file, { types, rows });
  }

  discover(known: readonly string[]): Promise<EvolvedField[]> {
    const found = this.columns.columns.filter(({ original }) => !known.includes(original));
    // The file itself says their types.
    return Promise.resolve(found.map(({ original }) => ({ name: original, schema: {} })));
  }

  async survey(markEvery: number): Promise<Survey> {
    if (this.#rowCount === 0)
      throw new FluxError('SOURCE_INVALID', 'The source holds no record. Expected at least one.');
    const [sum] = await this.#session.rows(
      `select sum(total_uncompressed_size)::double from parquet_metadata(${this.#path})`,
    );
    return {
      ...SurveyMarks.computed(this.#rowCount, markEvery, (row) => ({ row })),
      memoryBytes: Number(sum?.[0] ?? 0),
    };
  }

  async start({ from, records }: RangeRequest): Promise<void> {
    await this.#leaveRange();
    this.#row = from['row'] ?? 0;
    this.#endRow = this.#row + records;
    this.#range = this.#sure && this.#sureRange(this.#sure);
  }

  async #leaveRange(): Promise<void> {
    await this.#range?.close();
    this.#range = null;
  }

  #sureRange(sure: SureVectors): SureRange {
    const columns = sure.places.map((at) => ({ name: cell(at), type: this.#file[at]?.type ?? '' }));
    const names = sure.places.map((at) => `, ${ident(this.#file[at]?.name ?? '')}`).join('');
    return new SureRange(this.#session, sure, {
      query: `select file_row_number + 1${names} from ${this.#source} where ${rowsBetween(this.#row, this.#endRow)}`,
      columns: [{ name: '_flux_record', type: 'bigint' }, ...columns],
    });
  }

  async next(records: number): Promise<Chunk> {
    const from = this.#row;
    const to = Math.min(from + records, this.#endRow);
    this.#row = to;
    const sure = (await this.#range?.next(to - from)) ?? null;
    if (sure === null || to >= this.#endRow) await this.#leaveRange();
    return {
      relation: sure?.relation ?? `${this.#select()} where ${rowsBetween(from, to)}`,
      rowCount: sure?.left.count ?? to - from,
      sure: sure?.rows ?? null,
      recordsRead: to - from,
      bytesRead: this.#bytesBefore(to) - this.#bytesBefore(from),
      firstRecord: to === from ? null : from + 1,
      lastRecord: to === from ? null : to,
      unreadable: [],
      refused: [],
      next: { row: to },
      last: to >= this.#endRow,
      rawOf: () => ({ raw: null, byteOffset: null }),
      // A plan that is made over an empty table would be wrong for the rows that come later.
      ...(sure !== null && sure.left.count > 0 && { left: sure.left }),
    };
  }

  /** One scan for all of them: one each would read a large row group as often. */
  async stretches(stretches: readonly Stretch[]): Promise<{ chunk: Chunk; read: readonly Stretch[] }> {
    const recordsRead = stretches.reduce((sum, { records }) => sum + records, 0);
    const [first, last] = [stretches[0], stretches.at(-1)];
    await this.start({ from: { row: first?.record ?? 0 }, records: 0 });
    const chunk = {
      ...(await this.next(0)),
      relation: `${this.#select()} where ${rowsWithin(stretches)}`,
      rowCount: recordsRead,
      recordsRead,
      firstRecord: first ? first.record + 1 : null,
      lastRecord: last ? last.record + last.records : null,
    };
    return { chunk, read: stretches };
  }

  close(): void {
    // The session holds the file, and its owner closes it.
  }

  #select(): string {
    const cells = this.#file.map(({ name }, at) => `${ident(name)} as ${cell(at)}`);
    return `select file_row_number + 1 as _flux_record, ${cells.join(', ')} from ${this.#source}`;
  }

  /** Columns are stored apart, so that a row has no place in bytes: its share of the file stands for it. */
  #bytesBefore(row: number): number {
    return this.#rowCount === 0 ? 0 : Math.round((this.#byteCount * row) / this.#rowCount);
  }
}

const rowsBetween = (from: number, to: number): string => `file_row_number >= ${from} and file_row_number < ${to}`;

/**
 * A condition over `file_row_number`. Stretches of one length at even distances are one comparison: hundreds of them, one by one, would
 * take longer than to read the rows.
 *
 * @param before rows of other files in front of this one's
 */
export function rowsWithin(stretches: readonly Stretch[], before = 0): string {
  const conditions: string[] = [];
  for (let at = 0; at < stretches.length;) {
    const { record = 0, records = 0 } = stretches[at] ?? {};
    const every = Math.max(1, (stretches[at + 1]?.record ?? record) - record);
    let end = at + 1;
    while (stretches[end]?.records === records && stretches[end]?.record === record + (end - at) * every) end += 1;
    const [from, to] = [record - before, record - before + (end - at - 1) * every + records - 1];
    const among = end - at > 1 ? ` and (file_row_number - ${from}) % ${every} < ${records}` : '';
    conditions.push(`(file_row_number between ${from} and ${to}${among})`);
    at = end;
  }
  return conditions.join(' or ') || 'false';
}

function checkNames(model: ContractModel, names: readonly string[]): void {
  const missing = model.fields.filter((field) => field.required && !names.includes(field.path[0] ?? ''));
  if (missing.length > 0) {
    const list = missing.map((field) => `"${field.path.join('.')}"`).join(', ');
    throw new FluxError(
      'SOURCE_INVALID',
      `The contract requires ${list}, which the file does not hold. Found: ${names.join(', ')}.`,
    );
  }
  const known = new Set(model.fields.map((field) => field.path[0]));
  const unknown = names.filter((name) => !known.has(name));
  if (unknown.length > 0 && !model.open) {
    throw new FluxError(
      'SOURCE_INVALID',
      `The file holds ${unknown.join(', ')}, which the contract does not allow (additionalProperties).`,
    );
  }
}

async function readable<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    // DuckDB names the pinned object; where that lies on this machine is nobody's business.
    const line = ((cause as Error).message.split('\n')[0] ?? '').replaceAll(/'\/[^']*'/g, 'the source');
    throw new FluxError(
      'SOURCE_INVALID',
      `Expected a Parquet file, found something else or a damaged one (${line}). Correct the source or source.format.`,
      {
        cause,
      },
    );
  }
}
