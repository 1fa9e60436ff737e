import type { OutputType, RejectedRecord } from '../engine-types.ts';
import type { EvolvedField } from '../evolved-contract.ts';
import type { CopyRows, RowFile } from '../sure/copy-rows.ts';
import type { RecordColumns } from './columns.ts';
import type { DroppedValues } from './rule-modes.ts';

/** Positions are opaque to all but the reader that made them; JSON objects. */
export type Position = Readonly<Record<string, number>>;

/** Where a record stands, and how many come before it. */
export interface Place {
  position: Position;
  record: number;
}

/** What a look at the whole source found out. */
export interface Survey {
  recordsTotal: number;
  /** Where records that may begin a range stand; the first is the beginning. */
  marks: readonly Place[];
  /** Places all over the source for a sample, in order; the first is the beginning, the last stands near the end. */
  places: readonly Place[];
  /** Bytes of all records in memory, where they are far from the source's own. */
  memoryBytes?: number;
}

/** The records of one batch, ready for SQL. */
export interface Chunk {
  /** A query that gives `_flux_record` and the cells. */
  relation: string;
  /** Rows that the query must give. */
  rowCount: number;
  recordsRead: number;
  bytesRead: number;
  firstRecord: number | null;
  lastRecord: number | null;
  /** Refused because the source does not hold a record there: the step `read`. */
  unreadable: RejectedRecord[];
  /** Refused by the contract before SQL saw them: the step `validate`. */
  refused: RejectedRecord[];
  /** Records that were passed over before SQL saw them. */
  passed?: number;
  /** Rows of records that are judged already, besides those of the query; null, or absent: there are none. */
  sure?: RowFile | null;
  /** Values that were left out before SQL saw the records. */
  dropped?: DroppedValues[];
  /** Where the next batch begins. */
  next: Position;
  last: boolean;
  /** The record's own text and place, while the chunk is the newest; null when SQL makes the text. */
  rawOf(recordNo: number): { raw: string | null; byteOffset: number | null };
  /** The query is the same for each chunk, over a table of those records that were left of many, so that hardly one is good. `release` empties it. */
  left?: { release(): Promise<void> };
}

export interface RangeRequest {
  from: Position;
  /** Records of the range. */
  records: number;
  /** A few of them are wanted and then others, far from them: little is read ahead. */
  glance?: boolean;
}

/** Bytes that are read at once for a few records; a record that is longer is read whole all the same. */
export const glanceBytes = 65_536;

/** Records that stand beside each other. */
export interface Stretch {
  from: Position;
  /** Records before it. */
  record: number;
  records: number;
}

/** Reads one format. Made for one pinned object; all of it happens in the child process. */
export interface SourceReader {
  readonly columns: RecordColumns;
  /** The names of a record's cells in their order, where a record is a row of cells. */
  readonly headings?: readonly string[];
  /** The source relation with no rows, for binding. */
  readonly sample: string;
  /** SQL makes the rejected record's text, because the source has none. */
  readonly rawJson: boolean;
  /** Reads everything once. @param markEvery records between marks for ranges */
  survey(markEvery: number): Promise<Survey>;
  /**
   * Reads what is needed to say which fields the source has besides those that are known. Absent: the format's fields are known beforehand.
   *
   * @param known names that are not told
   */
  discover?(known: readonly string[]): Promise<EvolvedField[]>;
  /**
   * From here on, chunks may come with rows that are made already. Absent: it makes none.
   *
   * @param types of the columns that take the reader's own, in their order
   * @param rows where such rows go
   */
  beSure?(types: readonly OutputType[], rows: CopyRows): void;
  /** Begins a range, or goes on in one. */
  start(range: RangeRequest): Promise<void>;
  /** The next at most `records` records. */
  next(records: number): Promise<Chunk>;
  /**
   * Records of several stretches at once, where reading one after the other would cost more. Absent: it would not.
   *
   * @returns with those that were read: what the reader has not been given is left out
   */
  stretches?(stretches: readonly Stretch[]): Promise<{ chunk: Chunk; read: readonly Stretch[] }>;
  close(): void;
}
