import { FluxError } from '../../errors.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import { ident, literal } from '../duckdb/sql-text.ts';
import type { EvolvedField } from '../evolved-contract.ts';
import { parquetColumns, type RecordColumns } from './columns.ts';
import type { ContractModel } from './contract-model.ts';
import { cell } from './lexical.ts';
import type { Chunk, Position, RangeRequest, SourceReader, Survey } from './reader.ts';

/** Reads Parquet by row ranges: DuckDB prunes row groups, so that a range costs what it holds. */
export class ParquetReader implements SourceReader {
  readonly columns: RecordColumns;
  readonly sample: string;
  readonly rawJson = true;
  readonly #session: DuckDbSession;
  readonly #source: string;
  readonly #cells: string;
  readonly #byteCount: number;
  readonly #rowCount: number;
  #row = 0;
  #endRow = 0;

  private constructor(made: {
    session: DuckDbSession;
    path: string;
    columns: RecordColumns;
    names: readonly string[];
    byteCount: number;
    rowCount: number;
  }) {
    this.#session = made.session;
    this.#source = `read_parquet(${literal(made.path)}, file_row_number = true)`;
    this.#cells = made.names.map((name, at) => `${ident(name)} as ${cell(at)}`).join(', ');
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
    const names = file.map(({ name }) => name);
    return new ParquetReader({ session, path, columns, names, byteCount, rowCount: Number(counted?.[0] ?? 0) });
  }

  discover(known: readonly string[]): Promise<EvolvedField[]> {
    const found = this.columns.columns.filter(({ original }) => !known.includes(original));
    // The file itself says their types.
    return Promise.resolve(found.map(({ original }) => ({ name: original, schema: {} })));
  }

  survey(markEvery: number): Promise<Survey> {
    if (this.#rowCount === 0)
      throw new FluxError('SOURCE_INVALID', 'The source holds no record. Expected at least one.');
    const marks: { position: Position; record: number }[] = [];
    for (let row = 0; row < this.#rowCount; row += markEvery) marks.push({ position: { row }, record: row });
    return Promise.resolve({ recordsTotal: this.#rowCount, marks });
  }

  start({ from, records }: RangeRequest): Promise<void> {
    this.#row = from['row'] ?? 0;
    this.#endRow = this.#row + records;
    return Promise.resolve();
  }

  next(records: number): Promise<Chunk> {
    const from = this.#row;
    const to = Math.min(from + records, this.#endRow);
    this.#row = to;
    return Promise.resolve({
      relation: `${this.#select()} where file_row_number >= ${from} and file_row_number < ${to}`,
      rowCount: to - from,
      recordsRead: to - from,
      bytesRead: this.#bytesBefore(to) - this.#bytesBefore(from),
      firstRecord: to === from ? null : from + 1,
      lastRecord: to === from ? null : to,
      unreadable: [],
      refused: [],
      next: { row: to },
      last: to >= this.#endRow,
      rawOf: () => ({ raw: null, byteOffset: null }),
    });
  }

  close(): void {
    // The session holds the file, and its owner closes it.
  }

  #select(): string {
    return `select file_row_number + 1 as _flux_record, ${this.#cells} from ${this.#source}`;
  }

  /** Columns are stored apart, so that a row has no place in bytes: its share of the file stands for it. */
  #bytesBefore(row: number): number {
    return this.#rowCount === 0 ? 0 : Math.round((this.#byteCount * row) / this.#rowCount);
  }
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
