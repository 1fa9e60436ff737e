import type { SourceAccess, SourceIncrement, SourcePlace, UploadedFile } from '../connectors/source.ts';
import type { Issue } from '../errors.ts';
import type { DataKey } from '../objects/object-store.ts';
import type { DroppedValues } from './ingest/rule-modes.ts';
import type { EvolvedField } from './evolved-contract.ts';
import type { DryRunReport, Reference, StagedColumn, StagedInput, StagedPart } from './staged-types.ts';

export type { UploadedFile } from '../connectors/source.ts';
export type * from './staged-types.ts';

/**
 * What the worker asks of the ETL engine. The engine reads sources and pinned objects and prepares batches; it never touches
 * a table of `flux`. The worker commits what it is handed.
 */
export interface EtlEngine {
  /**
   * A source is about to be read, or likely to be: what takes time to start may start now. To be said again while that stays so; what was
   * started goes half a minute after it was said last.
   */
  expectWork?(): void;
  /** Ends the processes that wait for work. Resolves when they are gone: nothing is written any more to the folders that the engine was given. */
  close?(): Promise<void>;

  /**
   * Copies the source's exact bytes into the object store.
   *
   * @throws SOURCE_INVALID missing, unreadable, empty, or outside the roots that the agency allows
   * @throws SOURCE_UNAVAILABLE it may work later
   */
  pinSource(request: PinRequest): Promise<PinnedObject>;

  /**
   * Inspects a pinned object: what it holds, what comes out, how it can be cut.
   *
   * @throws SOURCE_INVALID empty, binary, wrongly encoded, malformed, a column missing
   * @throws CONTRACT_INVALID the contract does not compile
   * @throws REFERENCE_AMBIGUOUS a key of a joined dataset stands for several of its records
   */
  planSource(request: PlanRequest): Promise<SourcePlan>;

  /**
   * Looks at what a range would load, where the pipeline refuses personal data: for plans that another run has made. Planning does it by itself.
   *
   * @param range one of `SourcePlan.ranges`; undefined: nothing is read
   * @throws PERSONAL_DATA_FOUND
   */
  requireNoPersonalData(request: PlanRequest, range: SourcePlan['ranges'][number] | undefined): Promise<void>;

  /** What would come out of a source, without reading it to its end. @throws as planSource */
  describeOutput(request: PlanRequest): Promise<Pick<SourcePlan, 'columns' | 'steps'>>;

  /**
   * Reads a source, or a stage's input, as a run would, and keeps nothing: the source is copied into the work folder and goes
   * with it.
   *
   * @throws as pinSource, planSource and openBatches
   */
  dryRun(request: DryRunRequest): Promise<DryRunReport>;

  /** Keeps the records of a joined dataset in the object store. @param path of their CSV */
  storeReference(request: { agency: string; path: string; dataKey: DataKey | null }): Promise<StoredReference>;

  /**
   * Chosen records of a pinned object as ranges for `openBatches`.
   *
   * @param request.ranges those that the object was read in first
   */
  cutRecords(request: {
    source: PipelineDefinition['source'];
    records: readonly { recordNo: number; byteOffset: number | null }[];
    ranges: SourcePlan['ranges'];
  }): SourcePlan['ranges'];

  /**
   * Reads one range of a pinned object in batches, in the object's own order, from `cursor` on. Prepares at most one batch
   * ahead of the one that the consumer works on. At least one batch comes, the last of them with `last`, even of an empty
   * rest. Ending the iteration early, or the abort, ends the child process and removes its files.
   *
   * @throws TRANSFORM_FAILED a transform's SQL failed on the records
   * @throws UNAVAILABLE the child process died or ran out of time; a new taking may succeed
   */
  openBatches(request: BatchesRequest): AsyncIterable<Batch>;
}

export interface PinRequest {
  agency: string;
  connection: SourceAccess;
  source: PipelineDefinition['source'];
  /** The newest object that was pinned from an origin by the same access. */
  known?: ((origin: string) => Promise<KnownObject | null>) | undefined;
  /** The agency's upload that the path names; null, or absent, where there is none. */
  uploaded?: UploadedFile | null;
  /** Where the last completed run over the same source ended, by a cursor column. */
  since?: ((cursor: string) => Promise<string | null>) | undefined;
  /** The agency's newest key for objects; null, or absent, stores plain bytes. */
  dataKey?: DataKey | null;
  /** What the source will be planned with: where it can be read while it is copied, its records are counted meanwhile. */
  planned?: Omit<PlanRequest, 'object' | 'signal'>;
  signal: AbortSignal;
}

export interface PlanRequest {
  /** What is asked for one run may be answered by one process, range after range; absent: each has its own. */
  runId?: string;
  /** Whose records they are; needed where the stage writes parts, or hashes identifiers. */
  agency?: string;
  definition: PipelineDefinition;
  /** The contract's document; null when the pipeline names none. */
  contract: Readonly<Record<string, unknown>> | boolean | null;
  /** FULL if absent. INGEST and TRANSFORM write parts, TRANSFORM and EXPORT read them. */
  stage?: 'INGEST' | 'TRANSFORM' | 'EXPORT' | 'FULL';
  /** Null where a stage reads parts. */
  object: PinnedObject | null;
  /** What an earlier stage has left behind; null, or absent, where a source is read. */
  staged?: StagedInput | null;
  /** Records at or below the mark of an earlier run are passed over; absent: all are read. */
  since?: Since;
  /** The columns of the dataset as it stands; needed where fields that the contract does not name become columns of it. */
  dataset?: readonly { name: string; type: string }[];
  /** Such fields, where a plan has found them already; absent: planning looks for them. */
  evolved?: readonly EvolvedField[];
  /** The records of every dataset that the transforms join; absent where they join none. */
  references?: readonly Reference[];
  /** The agency's key for objects of a version, for objects that are sealed. */
  dataKeyOf?: ((version: number) => Promise<DataKey>) | undefined;
  /** A folder of the run's own, which exists and may be filled; the worker removes it. */
  workFolder: string;
  signal: AbortSignal;
}

/** By which field records are new, and what the last completed run has read up to, as DuckDB writes it; null: nothing yet. */
export interface Since {
  cursor: string;
  after: string | null;
}

export interface DryRunRequest extends Omit<PlanRequest, 'object'> {
  /** Null where a stage reads parts. */
  pin: Omit<PinRequest, 'signal'> | null;
}

export interface BatchesRequest extends PlanRequest {
  /** The agency's newest key for objects; null, or absent, stores plain parts. */
  dataKey?: DataKey | null;
  /** One of `SourcePlan.ranges`, as it was stored. */
  range: Readonly<Record<string, unknown>>;
  /** The cursor of the last committed batch; null reads the range from its beginning. */
  cursor: string | null;
}

/** The document of DESIGN.md section 8, as `registerPipeline` accepted it. */
export interface PipelineDefinition {
  name: string;
  source: SourcePlace & { connection: string };
  contract?: {
    name: string;
    version: number;
    onViolation?: string;
    rules?: readonly { path: string; rule?: string; mode: 'freeze' | 'quarantine' | 'drop_value' | 'evolve' }[];
    maxRejectedRatio?: number;
    maxRejectedCount?: number;
  } | null;
  transforms?: readonly (Readonly<Record<string, unknown>> & { type: string })[];
  destination: {
    type: string;
    dataset: string;
    mode: 'append' | 'replace' | 'merge';
    key?: readonly string[];
    evolve?: boolean;
  };
  batch?: { records?: number };
  /** What becomes of a run whose output seems to hold personal data; it is only told where absent. */
  personalData?: { onFound: 'warn' | 'refuse'; minimumShare?: number; allowedColumns?: readonly string[] };
}

/** A source's exact bytes in the object store. */
export interface PinnedObject {
  /** Lower-case hex. */
  sha256: string;
  byteCount: number;
  /** Where the store keeps it; keyed per agency. */
  address: string;
  /** Where it came from, for people: `file:birdstrikes.csv`. */
  origin: string;
  mediaType: string;
  modifiedAt: Date | null;
  /** The version of the data key that sealed it when it was pinned; null, or absent, for plain bytes. */
  keyVersion?: number | null;
  /** Its system's own name for exactly these bytes; null, or absent, where there is none. */
  etag?: string | null;
  /** Up to where it was read by a cursor column; null, or absent, where all was read. */
  increment?: SourceIncrement | null;
  /** The records that the system itself counted; null, or absent, where it counts none. */
  recordCount?: number | null;
}

/** Where the object store keeps the records of a joined dataset. */
export interface StoredReference {
  address: string;
  sha256: string;
  byteCount: number;
  keyVersion: number | null;
}

export interface KnownObject extends PinnedObject {
  etag: string;
}

export const outputTypes = [
  'bigint',
  'double precision',
  'numeric',
  'text',
  'boolean',
  'date',
  'timestamp',
  'timestamptz',
  'jsonb',
] as const;
export type OutputType = (typeof outputTypes)[number];

/** A column of the dataset. `name` is a lower-case identifier that does not begin with `_flux_`. */
export interface OutputColumn {
  name: string;
  type: OutputType;
}

/** What a step does to the number of records. */
export type StepKind =
  'read' | 'validate' | 'row' | 'filter' | 'deduplicate' | 'join' | 'aggregate' | 'query' | 'write';

/** A step, in the order of the data: read, validate, each transform, write. */
export interface StepDeclaration {
  stage: 'INGEST' | 'TRANSFORM' | 'EXPORT';
  step: string;
  kind: StepKind;
}

/** A step's records in one batch: in = out + rejected + filtered, but where the step makes others of them (aggregate, query). */
export interface StepCount extends StepDeclaration {
  recordsIn: number;
  recordsOut: number;
  recordsRejected: number;
  recordsFiltered: number;
}

export interface SourcePlan {
  recordsTotal: number | null;
  /** Of the content: of a compressed source, decompressed, as its batches count what they read. */
  bytesTotal: number;
  /** At least one, without the `_flux_` columns. */
  columns: readonly OutputColumn[];
  steps: readonly StepDeclaration[];
  /** Up to where good records go, by the cursor of `since`; null, or absent, without one. */
  increment?: SourceIncrement | null;
  /** Fields of the source that the contract does not name, which became columns; absent where that is not asked for. */
  evolved?: readonly { field: string; column: string }[];
  /** What the parts of a stage hold; null, or absent, where it writes none. */
  staged?: readonly StagedColumn[] | null;
  /** At least one. Each becomes a partition; JSON objects, opaque to the worker. */
  ranges: readonly Readonly<Record<string, unknown>>[];
}

export interface Batch {
  /** Where the next batch begins; opaque to the worker. */
  cursor: string;
  /** No batch follows. */
  last: boolean;
  recordsRead: number;
  bytesRead: number;
  /**
   * Good records as CSV without header for COPY: `_flux_record`, then `columns`. Null is an empty unquoted field, the empty string a quoted
   * one. It is there if some good record is not in `binaryFile`.
   */
  goodFile: string;
  /** The other good records, the same columns in COPY's binary format; null, or absent, for none. */
  binaryFile?: { path: string; count: number } | null;
  /** The output columns in the order of both files. */
  columns: readonly string[];
  /** The good records as a stored part, in place of the file; null, or absent, where the stage writes none or none was good. */
  part?: StagedPart | null;
  /** In both files. */
  goodCount: number;
  rejected: readonly RejectedRecord[];
  /** Values that rules of mode drop_value took out of good records; absent where no rule does. */
  dropped?: readonly DroppedValues[];
  /** The first record that broke a rule of mode freeze; null, or absent, for none. */
  frozen?: { recordNo: number; path: string; rule: string } | null;
  /** One per declared step, in order. */
  steps: readonly StepCount[];
  /** Record numbers of the run's source, from 1; both null when the batch read none. */
  firstRecord: number | null;
  lastRecord: number | null;
  /** Removes the batch's files. The worker calls it after the commit. */
  release(): Promise<void>;
}

export interface RejectedRecord {
  recordNo: number;
  byteOffset: number | null;
  reasons: readonly Issue[];
  raw: string | null;
}
