/** A column of the parts that a single stage leaves behind. */
export interface StagedColumn {
  name: string;
  /** The source's own name, by which a rename may call it too. */
  original: string;
  /** DuckDB's type. */
  type: string;
}

/** Typed records of one batch, as Parquet in the object store. */
export interface StagedPart {
  address: string;
  /** Lower-case hex. */
  sha256: string;
  byteCount: number;
  /** The data key that seals it; null, or absent: none. */
  keyVersion?: number | null;
  records: number;
}

/** What a stage reads in place of a source: the parts of an earlier one, in the order of their records. */
export interface StagedInput {
  columns: readonly StagedColumn[];
  parts: readonly StagedPart[];
}

/** The records of a dataset that transforms join: CSV with a header and, in front of the columns, the number of the row. */
export interface Reference {
  dataset: string;
  columns: readonly ReferenceColumn[];
  records: number;
  /** Lower-case hex, of the CSV. */
  sha256: string;
  byteCount: number;
  /** Where it stands: a file of the run's own folder, or an object of the store and the key that seals it. */
  place: { path: string } | { address: string; keyVersion: number | null };
}

export interface ReferenceColumn {
  name: string;
  /** A type of datasets. */
  type: string;
  /** Digits behind the point that a numeric needs; absent for other types. */
  scale?: number;
}

/** What a dry run of a pipeline finds out from a source that it reads and does not keep. */
export interface DryRunReport {
  origin: string;
  sha256: string | null;
  recordsTotal: number | null;
  bytesTotal: number;
  /** Of a dataset where the stage ends in one; DuckDB's types where it ends in parts. */
  columns: readonly { name: string; type: string }[];
  steps: readonly { stage: string; step: string; kind: string }[];
  partitions: { record: number; records: number }[];
  sample: DryRunSample;
}

export interface DryRunSample {
  recordsRead: number;
  recordsGood: number;
  recordsRejected: number;
  recordsFiltered: number;
  /** Stretches of records beside each other, all over the source. */
  places: number;
  /** Numbers of the first and the last record that were looked at; null where there is none. */
  firstRecord: number | null;
  lastRecord: number | null;
  /** The most records beside each other that nobody looked at. */
  widestGap: number;
  /** The commonest first, at most 50. */
  findings: ContractFinding[];
  personalData: PersonalDataColumn[];
}

/** A rule that records of the sample broke. */
export interface ContractFinding {
  path: string;
  rule: string;
  count: number;
  /** What was expected and what was found, of the first of them; null where nothing of a record may be kept in plain text. */
  example: string | null;
  recordNo: number;
}

/** A column of the output that seems to hold personal data. */
export interface PersonalDataColumn {
  column: string;
  kind: string;
  /** Values of the sample that look like it, of those that are not null. */
  matches: number;
  checked: number;
}
