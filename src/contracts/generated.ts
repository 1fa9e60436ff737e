/** Generated from schemas/v1 by scripts/generate-contract-types.ts. Change the schemas, not this file. */

/**
 * An agency as the platform operator registers it (flux agencies add).
 */
export interface AgencyManifest {
  /**
   * Identifies the agency everywhere and never changes.
   */
  slug: string;
  /**
   * Full name.
   */
  name: string;
  /**
   * As the agency writes it itself.
   */
  abbreviation: string;
  /**
   * Pipelines of other content types are refused. Tables count as text.
   *
   * @minItems 1
   */
  supported_content_types: ('images' | 'documents' | 'text' | 'mixed')[];
  /**
   * Pipelines of other use cases are refused.
   *
   * @minItems 1
   */
  supported_use_cases: (
    | 'vr'
    | 'ai-training'
    | 'research'
    | 'education'
    | 'preservation'
    | 'accessibility'
    | 'public-engagement'
    | 'policy'
    | 'economic-development'
    | 'national-security'
    | 'environmental'
    | 'cultural'
    | 'historical'
    | 'scientific'
  )[];
  /**
   * Highest classification that the agency holds, lowest first: U < CUI < C < S < TS < SCI.
   */
  data_classification?: 'U' | 'CUI' | 'C' | 'S' | 'TS' | 'SCI';
  /**
   * Days that runs and their evidence are kept; 0 keeps them for ever. 2555 days are seven years.
   */
  retention_days?: number;
  /**
   * False refuses new runs; nothing is deleted.
   */
  enabled?: boolean;
}

/**
 * A bare request for a run. It resolves to the agency's only enabled pipeline of that content type and use case, or to the one that metadata.pipeline names.
 */
export interface RunPayload {
  /**
   * The caller's own agency; another one is refused with DATA_ISOLATION.
   */
  agency: string;
  content_type: 'images' | 'documents' | 'text' | 'mixed';
  use_case:
    | 'vr'
    | 'ai-training'
    | 'research'
    | 'education'
    | 'preservation'
    | 'accessibility'
    | 'public-engagement'
    | 'policy'
    | 'economic-development'
    | 'national-security'
    | 'environmental'
    | 'cultural'
    | 'historical'
    | 'scientific';
  stage?: 'ingest' | 'transform' | 'export' | 'full';
  /**
   * A path inside the pipeline's connection, in place of the pipeline's own. Absent or null: the pipeline's own.
   */
  source?: string | null;
  /**
   * Fork: a new run that starts from this checkpoint.
   */
  checkpoint_id?: string | null;
  /**
   * Read and validate; write nothing.
   */
  dry_run?: boolean;
  /**
   * Read everything, whatever earlier runs have read; for pipelines with source.incremental. The mark is set anew by it.
   */
  full?: boolean;
  /**
   * The caller's own notes, kept with the run. pipeline names the pipeline where several fit.
   */
  metadata?: {
    pipeline?: string;
    [k: string]: string | number | boolean | null | undefined;
  };
}

/**
 * An agency's named access to a source. A pipeline names a connection and reaches nothing else. Offered kinds: file, https, s3, postgres, upload.
 */
export type Connection = {
  /**
   * Unique in the agency.
   */
  name: string;
  title?: string;
  /**
   * file: folders on the machine where the workers run. https: a web server, or a JSON API that answers in pages. s3: a bucket of Amazon S3 or of a store that speaks its protocol. postgres: tables of another PostgreSQL. upload: files that the agency sends to the API (PUT /v1/uploads).
   */
  kind: 'file' | 'https' | 's3' | 'postgres' | 'upload';
  /**
   * Where it leads. What is secret stands in secret.
   */
  config: {};
  /**
   * Credentials. They are kept encrypted and never given out. Absent: those that are kept stay, as long as config stays as it is; null takes them away.
   */
  secret?: {} | null;
};

export type Format =
  CsvFormat | JsonFormat | NdjsonFormat | ParquetFormat | XlsxFormat | XmlFormat | FixedFormat | MainframeFormat;
export type Column = string;
/**
 * Names in order; needed where there is no header.
 *
 * @minItems 1
 * @maxItems 100
 */
export type Columns = Column[];
/**
 * How the text is written; utf-8 when absent. Bytes that the encoding does not have fail the run at their place (in UTF-8 they reject their record). Of another encoding, byte positions count in the text as UTF-8.
 */
export type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be' | 'windows-1252' | 'iso-8859-1' | 'iso-8859-15' | 'us-ascii';
/**
 * How the whole file is compressed; not at all when absent. The file is kept as it came; byte positions count in its decompressed content.
 */
export type Compression = 'gzip' | 'zstd';
/**
 * A JSON Pointer (RFC 6901), from the document or from each page; the empty string is all of it.
 */
export type RecordPath = string;
/**
 * Names in order; needed where there is no header.
 *
 * @minItems 1
 * @maxItems 100
 */
export type Columns1 = Column[];
export type Pages = LinkHeaderPages | NextLinkPages | CursorPages | PageNumberPages;
/**
 * 10000 when absent; a longer list fails the run.
 */
export type MaxPages = number;
export type Parameter = string;
export type Name = string;
export type Transform =
  | RenameTransform
  | CastTransform
  | DeriveTransform
  | FilterTransform
  | DeduplicateTransform
  | JoinTransform
  | AggregateTransform
  | SqlTransform
  | SteriliseTransform;
/**
 * A column that a transform makes; _flux_ is Flux's own prefix.
 */
export type NewColumn = string;
export type ColumnType =
  'bigint' | 'double precision' | 'numeric' | 'text' | 'boolean' | 'date' | 'timestamp' | 'timestamptz' | 'jsonb';
/**
 * A DuckDB SQL expression over the record's columns.
 */
export type Sql = string;
/**
 * @minItems 1
 * @maxItems 100
 */
export type Columns2 = Column[];
/**
 * Identifiers replaced by a keyed hash of their text (HMAC-SHA-256, 32 hex digits): the same identifier gives the same hash under the same salt.
 *
 * @minItems 1
 * @maxItems 100
 */
export type Columns3 = Column[];
/**
 * Columns of free text in which what identifies people is masked: [ssn], [email].
 *
 * @minItems 1
 * @maxItems 100
 */
export type Columns4 = Column[];
/**
 * Columns removed.
 *
 * @minItems 1
 * @maxItems 100
 */
export type Columns5 = Column[];
/**
 * Columns that identify a record; merge needs them.
 *
 * @minItems 1
 * @maxItems 100
 */
export type Columns6 = Column[];
/**
 * Columns of the output that may hold personal data.
 *
 * @minItems 1
 * @maxItems 100
 */
export type Columns7 = Column[];

/**
 * What a pipeline reads, which contract its records must meet, how they are transformed and where they go. Each registration is a new immutable version. What the document alone does not show to be impossible is refused at registration, with a message that says why.
 */
export interface PipelineDefinition {
  /**
   * Unique in the agency.
   */
  name: string;
  title: string;
  description?: string;
  /**
   * Tables count as text.
   */
  contentType: 'images' | 'documents' | 'text' | 'mixed';
  useCase:
    | 'vr'
    | 'ai-training'
    | 'research'
    | 'education'
    | 'preservation'
    | 'accessibility'
    | 'public-engagement'
    | 'policy'
    | 'economic-development'
    | 'national-security'
    | 'environmental'
    | 'cultural'
    | 'historical'
    | 'scientific';
  /**
   * Who is not cleared for it does not see that it exists. U < CUI < C < S < TS < SCI.
   */
  classification?: 'U' | 'CUI' | 'C' | 'S' | 'TS' | 'SCI';
  source: {
    /**
     * The only place that the pipeline can read from.
     */
    connection: string;
    /**
     * Relative to a root of the connection, to its base address (with a query if need be), or to its prefix; it cannot leave that. Of a database: schema.table. Of uploads: the name.
     */
    path: string;
    format: Format;
    pages?: Pages;
    /**
     * Only what has come since the last completed run, for destinations that merge. A postgres connection gives no more than that; of anything else all is read, and records at or below the mark are passed over. Without it every run loads everything.
     */
    incremental?: {
      /**
       * A column that is never null and rises with each change of a row: a number or a time. Of anything but a database: a property that the contract requires.
       */
      cursor: string;
    };
  };
  contract: {
    name: Name;
    version: number;
    /**
     * What a broken rule does, unless rules names it. quarantine: the record is kept with its reasons as a rejected record. freeze: the first such record fails the run. drop_value: the value is left out where the record can do without it, and counted. fail is the older word for freeze.
     */
    onViolation?: 'quarantine' | 'freeze' | 'drop_value' | 'fail';
    /**
     * Modes of single rules; the first that fits counts.
     *
     * @maxItems 400
     */
    rules?: {
      /**
       * JSON Pointer of the value in a record, as rejected records show it.
       */
      path: string;
      /**
       * The keyword; every rule at the path when absent.
       */
      rule?: string;
      /**
       * evolve: fields that the contract does not name become columns; for the rule additionalProperties at the path "" alone.
       */
      mode: 'freeze' | 'quarantine' | 'drop_value' | 'evolve';
    }[];
    /**
     * A run fails with CONTRACT_VIOLATED as soon as more records than this are rejected. Where it stands without maxRejectedRatio, the share does not matter.
     */
    maxRejectedCount?: number;
    /**
     * Rejected records divided by records read; a run that ends above it fails with CONTRACT_VIOLATED and publishes nothing.
     */
    maxRejectedRatio?: number;
  };
  /**
   * Applied in order to every record that met the contract; each sees the columns that the one before it left. The first sees the source's own, in lower case with words joined by _ ("Flight Date" is flight_date, properties.magType is properties_mag_type).
   *
   * @maxItems 50
   */
  transforms?: Transform[];
  destination: {
    type: 'postgres';
    /**
     * Table in the agency's lake.
     */
    dataset: string;
    /**
     * append: beside the earlier loads. replace: in their place. merge: by key over them. Visible at once, when the run completes.
     */
    mode: 'append' | 'replace' | 'merge';
    key?: Columns6;
    /**
     * Whether columns of the output that the dataset does not have are added to it, null in the records that it holds; new optional fields of a contract come in so. Absent: such a run fails.
     */
    evolve?: boolean;
  };
  /**
   * What becomes of a run when a sample of what it would load seems to hold personal data. Absent: a dry run tells of it.
   */
  personalData?: {
    /**
     * warn: a dry run tells columns, kinds and shares. refuse: the run, or its dry run, fails when it is planned, and nothing is loaded.
     */
    onFound: 'warn' | 'refuse';
    /**
     * Share of a column's values below which it is not refused; any value refuses when absent.
     */
    minimumShare?: number;
    allowedColumns?: Columns7;
  };
  batch?: {
    /**
     * Records between two checkpoints of a partition, at most; most runs begin with fewer.
     */
    records: number;
  };
  /**
   * Five cron fields in UTC, or null: only when somebody starts a run.
   */
  schedule?: string | null;
}
/**
 * Delimited text with one record a line or more (RFC 4180). TSV is delimiter "\t".
 */
export interface CsvFormat {
  type: 'csv';
  /**
   * The first line names the columns; true when absent.
   */
  header?: boolean;
  columns?: Columns;
  /**
   * Comma when absent.
   */
  delimiter?: ',' | '\t' | ';' | '|';
  /**
   * The double quote when absent; null: a quote is an ordinary character.
   */
  quote?: '"' | "'" | null;
  /**
   * Within quotes it makes a quote, or itself, an ordinary character, and is one before anything else; when absent, a quote within quotes is written twice.
   */
  escape?: '\\';
  /**
   * A line that begins with it is no record; when absent, every line is one.
   */
  comment?: '#' | '%' | '!';
  encoding?: Encoding;
  compression?: Compression;
}
/**
 * One JSON document that holds an array of records.
 */
export interface JsonFormat {
  type: 'json';
  recordPath?: RecordPath;
  encoding?: Encoding;
  compression?: Compression;
}
/**
 * One JSON record a line.
 */
export interface NdjsonFormat {
  type: 'ndjson';
  encoding?: Encoding;
  compression?: Compression;
}
export interface ParquetFormat {
  type: 'parquet';
}
/**
 * One sheet of an XLSX workbook. A row with something in it is a record; dates are read as their styles say, formulas by the results that were saved, and a cell with an error rejects its record. Byte positions count in the sheet's XML.
 */
export interface XlsxFormat {
  type: 'xlsx';
  /**
   * The first sheet when absent.
   */
  sheet?: string;
  /**
   * The first row with something in it names the columns; true when absent.
   */
  header?: boolean;
  columns?: Columns1;
  /**
   * The cells that are read, the header among them; the whole sheet when absent.
   */
  range?: string;
}
/**
 * Elements of one XML 1.0 document. Child elements are properties by their names without prefixes, attributes are @name, text beside either is #text, and what occurs more than once is an array. Entities are never expanded and nothing is fetched.
 */
export interface XmlFormat {
  type: 'xml';
  /**
   * Names from the root down to the records, as a JSON Pointer; every element there is a record. The empty string is the root itself.
   */
  recordPath: string;
  encoding?: Encoding;
  compression?: Compression;
}
/**
 * Fixed-width text: each column is a place in the record. Blanks at the end of a text are padding; a record that ends before its last column does is rejected.
 */
export interface FixedFormat {
  type: 'fixed';
  /**
   * @minItems 1
   * @maxItems 400
   */
  columns: {
    name: Column;
    /**
     * First character, counted from 1.
     */
    start: number;
    length: number;
  }[];
  /**
   * Bytes of a record where records follow each other without line ends. Absent: each line is a record.
   */
  recordLength?: number;
  encoding?: Encoding;
  compression?: Compression;
}
/**
 * EBCDIC records described by a COBOL copybook with one record. ACCT-ID is the contract's acct_id; elements of tables end in their numbers. Fields that the contract does not name are not decoded.
 */
export interface MainframeFormat {
  type: 'mainframe';
  /**
   * The copybook's text.
   */
  copybook: string;
  /**
   * cp037 when absent.
   */
  codePage?: 'cp037' | 'cp500' | 'cp1047' | 'cp1140';
  /**
   * fixed when absent: records of the copybook's length. variable: each behind a record descriptor word (RDW). blocked: those in blocks, each behind a block descriptor word (BDW), as in VB. spanned: blocked, and a record may lie in parts over several blocks, as in VBS.
   */
  records?: 'fixed' | 'variable' | 'blocked' | 'spanned';
  compression?: Compression;
}
export interface LinkHeaderPages {
  type: 'link-header';
  maxPages?: MaxPages;
}
export interface NextLinkPages {
  type: 'next-link';
  pointer: RecordPath;
  maxPages?: MaxPages;
}
export interface CursorPages {
  type: 'cursor';
  pointer: RecordPath;
  parameter: Parameter;
  maxPages?: MaxPages;
}
export interface PageNumberPages {
  type: 'page-number';
  parameter: Parameter;
  /**
   * 1 when absent.
   */
  first?: number;
  maxPages?: MaxPages;
}
export interface RenameTransform {
  type: 'rename';
  /**
   * Old name to new name, all at once.
   */
  columns: {
    [k: string]: NewColumn;
  };
}
/**
 * Changes a column's type. A value that is not written as that type fails the run: contracts reject records, casts do not.
 */
export interface CastTransform {
  type: 'cast';
  column: Column;
  to: ColumnType;
  /**
   * Of a date or a time written as text, in strptime's letters: %Y-%m-%dT%H:%M:%S. ISO 8601 when absent.
   */
  format?: string;
}
/**
 * Adds a column, or replaces the one of that name.
 */
export interface DeriveTransform {
  type: 'derive';
  column: NewColumn;
  sql: Sql;
}
/**
 * Keeps the records for which the condition is true; the others are counted as filtered under the rule's name.
 */
export interface FilterTransform {
  type: 'filter';
  /**
   * What is kept and why, for people.
   */
  rule: string;
  sql: Sql;
}
export interface DeduplicateTransform {
  type: 'deduplicate';
  key: Columns2;
  /**
   * In the source's order; first when absent.
   */
  keep?: 'first' | 'last';
}
/**
 * Adds columns of a dataset in the agency's own lake, as it stood when the run was planned. A null joins nothing.
 */
export interface JoinTransform {
  type: 'join';
  dataset: string;
  /**
   * Column of the record to column of the dataset.
   */
  on: {
    [k: string]: Column;
  };
  columns: Columns2;
  /**
   * Names for those of the columns that are to have another one than in the dataset.
   */
  as?: {
    [k: string]: NewColumn;
  };
  /**
   * keep, when absent: the record goes on without values. drop: it is counted as filtered.
   */
  unmatched?: 'keep' | 'drop';
  /**
   * Where several records of the dataset have one key. refuse, when absent: the run fails. first, last: by load and record.
   */
  duplicates?: 'refuse' | 'first' | 'last';
}
export interface AggregateTransform {
  type: 'aggregate';
  groupBy: Columns2;
  /**
   * New column to aggregate expression.
   */
  measures: {
    [k: string]: Sql;
  };
}
/**
 * A whole query over the table records.
 */
export interface SqlTransform {
  type: 'sql';
  sql: Sql;
}
/**
 * Removes what identifies people or reveals too much.
 */
export interface SteriliseTransform {
  type: 'sterilise';
  hash?: Columns3;
  /**
   * agency, when absent: nobody else's hashes are like the agency's. linkage:NAME: a salt that the platform's operator gave to several agencies, so that their records can be linked. Salts stand in no database.
   */
  salt?: string;
  redact?: Columns4;
  drop?: Columns5;
  /**
   * Column to what replaces its value: the lower end of its band, or the first day of its period.
   */
  generalise?: {
    [k: string]: {
      /**
       * The width of the bands.
       */
      band?: number;
      date?: 'month' | 'quarter' | 'year' | 'decade' | 'century';
    };
  };
  /**
   * Suppresses records whose count lies below the minimum and is not 0.
   */
  minimumCell?: {
    /**
     * The column that counts people.
     */
    count: string;
    minimum: number;
    /**
     * none: the author says that no query before it gives totals of the cells, where the query itself does not show that.
     */
    totals?: 'none';
  };
  /**
   * Suppresses the records of groups that are too small. The run's report proves it on what was loaded.
   */
  kAnonymity?: {
    /**
     * Smallest group of records alike in the columns.
     */
    k: number;
    columns: Columns2;
  };
}
