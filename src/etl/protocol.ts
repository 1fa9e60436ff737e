import type { ErrorCode, ErrorDetails } from '../errors.ts';
import type { ObjectSeal } from '../objects/sealed-format.ts';
import type { EvolvedField } from './evolved-contract.ts';
import type { GrowthLimits } from './decompressed-copy.ts';
import type { LocalPart } from './ingest/parts-reader.ts';
import type { Survey } from './ingest/reader.ts';
import type { DroppedValues } from './ingest/rule-modes.ts';
import type { Surveyed } from './ingest/spread.ts';
import type { RowFile } from './sure/copy-rows.ts';
import type { DryRunSample, ReferenceColumn, StagedColumn, StagedPart } from './staged-types.ts';
import type {
  OutputColumn,
  PipelineDefinition,
  RejectedRecord,
  Since,
  StepCount,
  StepDeclaration,
} from './engine-types.ts';

/**
 * What a worker and its DuckDB child say to each other, over Node's IPC (structured clone). The child answers each request
 * once, in order; it ends when its parent does.
 *
 *   open   -> ready            compiles the contract and the transforms against the source
 *   describe -> OutputShape    says what comes out, without reading
 *   discover -> EvolvedField[] says which fields the source has besides those that are known
 *   newest -> string           reads and judges a range, and says the greatest cursor of its good records
 *   survey -> SourceSurvey     reads the source once from end to end
 *   start  -> ready            goes to the beginning of a range, or to a cursor in it
 *   next   -> PreparedBatch    gives the next batch, and prepares the one behind it
 *   sample -> DryRunSample     reads records from all over the source and says what it found
 */
export type ChildRequest =
  | { id: number; ask: 'open'; job: ChildJob }
  | { id: number; ask: 'describe' }
  | { id: number; ask: 'discover'; known: readonly string[] }
  | { id: number; ask: 'newest'; range: Range }
  | { id: number; ask: 'survey' }
  | { id: number; ask: 'start'; range: Range; cursor: string | null; likely: boolean }
  | { id: number; ask: 'next' }
  | { id: number; ask: 'sample'; range: Range; surveyed: Surveyed | null; records: number };

export type ChildReply =
  | { id: number; ok: true; value: unknown }
  | { id: number; ok: false; error: { code: ErrorCode; message: string; details: ErrorDetails } };

/** Everything that a child may know. */
export interface ChildJob {
  definition: PipelineDefinition;
  contract: Readonly<Record<string, unknown>> | boolean | null;
  /** FULL if absent. */
  stage?: 'INGEST' | 'TRANSFORM' | 'EXPORT' | 'FULL';
  /** What it reads in place of a source. */
  staged?: { columns: readonly StagedColumn[]; parts: readonly LocalPart[]; byteCount: number } | null;
  /** The records of each dataset that the transforms join, as CSV on this machine. */
  references?: readonly LocalReference[];
  /** Only so many of the transforms' steps are done, and their records kept for those that need all of them. */
  gathers?: number;
  /** The keys of hashed identifiers by the names of their salts, in hex. */
  salts?: Readonly<Record<string, string>>;
  /** What an earlier run has read is passed over. */
  since?: Since;
  /** Only chosen records of the source are read. */
  wanted?: boolean;
  objectPath: string;
  objectByteCount: number;
  /** How to read it when it is sealed: this one object's key, and none that opens another. Absent or null: it is plain. */
  seal?: SentSeal | null;
  /** The worker is still writing the object: what is not there yet is waited for. */
  growing?: boolean;
  /** The child's own folder, empty. */
  workFolder: string;
  memoryMegabytes: number;
  /** How far a source that is an archive may grow; the engine's own limits if absent. */
  growthLimits?: GrowthLimits;
}

export interface LocalReference {
  dataset: string;
  columns: readonly ReferenceColumn[];
  records: number;
  path: string;
}

/** An object's seal as it travels: IPC turns buffers into something else. */
export interface SentSeal {
  key: string;
  noncePrefix: string;
  objectId: string;
  segmentBytes: number;
  byteCount: number;
}

export function sendSeal({ key, noncePrefix, objectId, segmentBytes, byteCount }: ObjectSeal): SentSeal {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  return { key: hex(key), noncePrefix: hex(noncePrefix), objectId: hex(objectId), segmentBytes, byteCount };
}

export function sealFrom({ key, noncePrefix, objectId, ...rest }: SentSeal): ObjectSeal {
  const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');
  return { key: bytes(key), noncePrefix: bytes(noncePrefix), objectId: bytes(objectId), ...rest };
}

/** A partition's part of the source. `record` is the number of records before it. */
export interface Range {
  from: Readonly<Record<string, number>>;
  record: number;
  records: number;
  /** Records of the range behind it; absent: there is none, or nobody knows. */
  following?: number;
  /** Chosen records, in place of all. */
  clusters?: readonly WantedCluster[];
  /** What an earlier run has read is passed over. */
  since?: Since;
  /** Fields that the plan has found, and the contract does not name. */
  evolved?: readonly EvolvedField[];
  /** The parts of an earlier stage that it reads, with the number of records before each. */
  parts?: readonly (StagedPart & { before: number })[];
}

/** Chosen records that lie close to each other. */
export interface WantedCluster {
  /** Where the first of them begins. */
  from: Readonly<Record<string, number>>;
  /** From there to the last of them, with what lies between. */
  records: number;
  /** Their numbers, in order. */
  wanted: readonly number[];
}

export interface OutputShape {
  columns: OutputColumn[];
  steps: StepDeclaration[];
  /** What the parts hold; null where the stage writes none. */
  staged: StagedColumn[] | null;
}

export type SampleReply = DryRunSample;

export interface SourceSurvey extends OutputShape, Pick<Survey, 'places' | 'memoryBytes'> {
  recordsTotal: number;
  ranges: Range[];
}

export interface PreparedBatch {
  cursor: string;
  last: boolean;
  recordsRead: number;
  bytesRead: number;
  goodFile: string;
  binaryFile: RowFile | null;
  columns: string[];
  goodCount: number;
  rejected: RejectedRecord[];
  dropped: DroppedValues[];
  frozen: { recordNo: number; path: string; rule: string } | null;
  steps: StepCount[];
  firstRecord: number | null;
  lastRecord: number | null;
}
