import { FluxError } from '../../errors.ts';
import type { DuckDbSession } from '../duckdb/session.ts';
import { ident, literal } from '../duckdb/sql-text.ts';
import type { StagedColumn } from '../staged-types.ts';
import type { RecordColumns } from './columns.ts';
import { cell } from './lexical.ts';
import { rowsWithin } from './parquet-reader.ts';
import type { Chunk, Place, Position, RangeRequest, SourceReader, Stretch, Survey } from './reader.ts';
import { tailStep } from './survey-marks.ts';

/** A part on this machine. `before`: rows of the stage's input that come before it. */
export interface LocalPart {
  path: string;
  rows: number;
  before: number;
}

/** Parts that a sample opens at most, because each is copied, and deciphered, for it; and its places in each. */
const sampledPartsMax = 16;
const placesPerPart = 16;

/** Types that Parquet cannot give back as they were; they go through text. */
const asText = /HUGEINT|\bBIT\b|ENUM|TIMESTAMP_S|TIMESTAMP_MS|NULL/;

/** The expression that writes a column into a part. */
export function partExpression({ name, type }: Pick<StagedColumn, 'name' | 'type'>): string {
  return asText.test(type) ? `${ident(name)}::varchar` : ident(name);
}

/** Reads what an earlier stage has left behind: records that are typed and checked already. */
export class PartsReader implements SourceReader {
  readonly columns: RecordColumns;
  readonly sample: string;
  readonly rawJson = false;
  readonly #session: DuckDbSession;
  readonly #parts: readonly LocalPart[];
  readonly #cells: string;
  readonly #bytesPerRow: number;
  #row = 0;
  #endRow = 0;

  constructor(
    session: DuckDbSession,
    columns: readonly StagedColumn[],
    parts: readonly LocalPart[],
    byteCount: number,
  ) {
    this.#session = session;
    this.#parts = parts;
    const rows = parts.reduce((sum, part) => sum + part.rows, 0);
    this.#bytesPerRow = rows === 0 ? 0 : byteCount / rows;
    this.#cells = columns.map(({ name, type }, at) => `${ident(name)}::${typeOf(type)} as ${cell(at)}`).join(', ');
    this.columns = {
      columns: columns.map(({ name, original }, at) => ({
        name,
        original,
        field: null,
        read: null,
        value: cell(at),
        found: `${cell(at)}::varchar`,
        quoted: true,
        json: cell(at),
        rules: [],
      })),
      checkRecords: false,
    };
    const cells = columns.map(({ type }, at) => `null::${typeOf(type)} as ${cell(at)}`).join(', ');
    this.sample = `select * from (select 0::bigint as _flux_record, ${cells}) where false`;
  }

  survey(): Promise<Survey> {
    const recordsTotal = this.#parts.reduce((sum, part) => sum + part.rows, 0);
    const placeOf = (row: number): Place => ({ position: { row }, record: row });
    // One part was one batch. Ranges begin with parts, so that no two workers read the same one.
    const marks = this.#parts.length > 0 ? this.#parts.map(({ before }) => placeOf(before)) : [placeOf(0)];
    const places = evenly(this.#parts, sampledPartsMax).flatMap(({ before, rows }) => {
      const count = Math.min(placesPerPart, Math.ceil(rows / tailStep));
      const every = count < 2 ? 0 : (rows - tailStep) / (count - 1);
      return Array.from({ length: count }, (_each, at) => placeOf(before + Math.round(at * every)));
    });
    return Promise.resolve({ recordsTotal, marks, places: places.length > 0 ? places : [placeOf(0)] });
  }

  start({ from, records }: RangeRequest): Promise<void> {
    this.#row = from['row'] ?? 0;
    this.#endRow = this.#row + records;
    return Promise.resolve();
  }

  async next(records: number): Promise<Chunk> {
    const from = this.#row;
    if (from >= this.#endRow) return this.#empty({ row: from });
    const part = this.#parts.find(({ before, rows }) => from >= before && from < before + rows);
    if (!part) {
      throw new FluxError(
        'CHECKPOINT_INCOMPATIBLE',
        `Record ${from + 1} of the stage's input lies in none of its parts. Rerun the run.`,
      );
    }
    const to = Math.min(from + records, this.#endRow, part.before + part.rows);
    const [first, last] = [from - part.before, to - part.before];
    const relation =
      `select _flux_record, ${this.#cells} from read_parquet(${literal(part.path)}, file_row_number = true) ` +
      `where file_row_number >= ${first} and file_row_number < ${last}`;
    const [bounds] = await this.#session.rows(`select min(_flux_record), max(_flux_record) from (${relation})`);
    this.#row = to;
    return {
      ...this.#empty({ row: to }),
      relation,
      rowCount: to - from,
      recordsRead: to - from,
      bytesRead: Math.round(to * this.#bytesPerRow) - Math.round(from * this.#bytesPerRow),
      firstRecord: Number(bounds?.[0]),
      lastRecord: Number(bounds?.[1]),
    };
  }

  /** One scan a part. */
  stretches(stretches: readonly Stretch[]): Promise<{ chunk: Chunk; read: readonly Stretch[] }> {
    const read: Stretch[] = [];
    const relations = this.#parts.flatMap(({ path, rows, before }) => {
      const own = stretches.flatMap((stretch) => {
        const record = Math.max(stretch.record, before);
        const records = Math.min(stretch.record + stretch.records, before + rows) - record;
        return records > 0 ? { from: { row: record }, record, records } : [];
      });
      read.push(...own);
      if (own.length === 0) return [];
      const file = `read_parquet(${literal(path)}, file_row_number = true)`;
      return `select _flux_record, ${this.#cells} from ${file} where ${rowsWithin(own, before)}`;
    });
    const recordsRead = read.reduce((sum, { records }) => sum + records, 0);
    const relation = relations.join(' union all ') || this.sample;
    return Promise.resolve({
      chunk: { ...this.#empty({ row: 0 }), relation, rowCount: recordsRead, recordsRead },
      read,
    });
  }

  #empty(next: Position): Chunk {
    return {
      relation: this.sample,
      rowCount: 0,
      recordsRead: 0,
      bytesRead: 0,
      firstRecord: null,
      lastRecord: null,
      unreadable: [],
      refused: [],
      next,
      last: this.#row >= this.#endRow,
      rawOf: () => ({ raw: null, byteOffset: null }),
    };
  }

  close(): void {
    // The session holds the files, and its owner closes it.
  }
}

/** So many of a list at most, the first and the last among them. */
function evenly<T>(list: readonly T[], countMax: number): T[] {
  if (list.length <= countMax) return [...list];
  const every = (list.length - 1) / (countMax - 1);
  return Array.from({ length: countMax }, (_each, at) => list[Math.round(at * every)] as T);
}

/** A bare null has no type of its own that a cast could name. */
function typeOf(type: string): string {
  return type === '"NULL"' || type === 'NULL' ? 'varchar' : type;
}
