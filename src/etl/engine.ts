import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FluxError } from '../errors.ts';
import { EtlChild } from './child-process.ts';
import { type GrowthLimits, growthLimitsDefault } from './decompressed-copy.ts';
import type {
  Batch,
  BatchesRequest,
  DryRunReport,
  DryRunRequest,
  EtlEngine,
  PlanRequest,
  SourcePlan,
  StagedPart,
} from './engine-types.ts';
import { openInput, type OpenRequest, withPlaces } from './open-input.ts';
import type { OutputShape, PreparedBatch, Range, SampleReply, SourceSurvey } from './protocol.ts';
import { createSourcePins, type SourceDeps, type SourcePins } from './source-pins.ts';
import { cutWanted } from './wanted-records.ts';

export interface EtlDeps extends SourceDeps {
  /** How long a child may take to open, or to prepare one batch; 120 s by default. */
  stepTimeoutMs?: number;
  /** How long reading a whole source once may take; 1 h by default. */
  surveyTimeoutMs?: number;
  /** DuckDB's memory limit in each child; 256 by default. */
  memoryMegabytes?: number;
  /** The key that hashes an agency's identifiers under a salt's name. @throws KEY_UNAVAILABLE the agency may not use it */
  saltOf?: (agency: string, name: string) => Uint8Array;
  /** How far a compressed source may grow; to 64 GiB, and to 250 times its size, by default. */
  growthLimits?: GrowthLimits;
}

const stepTimeoutMsDefault = 120_000;
const surveyTimeoutMsDefault = 3_600_000;
const memoryMegabytesDefault = 256;

/** The ETL engine: files in, DuckDB children between, batches out. */
export function createEtlEngine(deps: EtlDeps): EtlEngine {
  const pins = createSourcePins(deps);
  return {
    pinSource: (request) => pins.pin(request),
    planSource: (request) => planSource(deps, request),
    openBatches: (request) => openBatches(deps, request),
    describeOutput: (request) =>
      withChild(deps, request, (child) => child.ask<OutputShape>({ ask: 'describe' }, stepTimeoutMsDefault)),
    dryRun: (request) => dryRun(deps, pins, request),
    cutRecords: ({ source, records, ranges }) =>
      cutWanted(records, { ranges: ranges.map(readRange), byRow: source.format.type === 'parquet' }).map((range) => ({
        ...range,
      })),
  };
}

async function planSource(deps: EtlDeps, request: PlanRequest): Promise<SourcePlan> {
  return withChild(deps, request, async (child, contentBytes) => {
    const survey = await child.ask<SourceSurvey>({ ask: 'survey' }, deps.surveyTimeoutMs ?? surveyTimeoutMsDefault);
    const { recordsTotal, columns, steps, staged, ranges } = survey;
    requireCount(request.object, recordsTotal);
    requireRoom(columns);
    return {
      recordsTotal,
      bytesTotal: contentBytes,
      columns,
      steps,
      staged,
      ranges: ranges.map((range) => ({ ...range, ...partsOf(request, range) })),
    };
  });
}

/** PostgreSQL's own limit (appendix K) is 1,600 columns, some of them Flux's own. */
const columnsMax = 1_500;

function requireRoom(columns: SourcePlan['columns']): void {
  if (columns.length <= columnsMax) return;
  throw new FluxError(
    'SOURCE_INVALID',
    `The records have ${String(columns.length)} columns; a dataset holds at most ${String(columnsMax)}. Name those that are needed in the contract.`,
  );
}

/** A system that counts what it gives must have given what was read. */
function requireCount(object: PlanRequest['object'], recordsTotal: number): void {
  const { recordCount = null, origin = '' } = object ?? {};
  if (recordCount === null || recordCount === recordsTotal) return;
  throw new FluxError(
    'NOT_RECONCILED',
    `${origin} says that it gave ${String(recordCount)} records, and ${String(recordsTotal)} were read. Nothing was loaded.`,
  );
}

/** The parts of a stage's input that a range reads, each with the number of records before it. */
function partsOf({ staged }: PlanRequest, { record, records }: Range): { parts?: (StagedPart & { before: number })[] } {
  if (!staged) return {};
  return { parts: withPlaces(staged.parts).filter((part) => part.before >= record && part.before < record + records) };
}

/** Reads the source into the work folder, surveys it, and looks at its first records. Nothing is kept. */
async function dryRun(
  deps: EtlDeps,
  pins: SourcePins,
  { pin, sampleRecords, ...request }: DryRunRequest,
): Promise<DryRunReport> {
  const folder = await mkdtemp(join(request.workFolder, 'dry-'));
  try {
    const copy = pin && (await pins.copy({ ...pin, signal: request.signal }, join(folder, 'source')));
    const planned = { ...request, object: null, ...(copy ? { localObject: copy } : {}) };
    return await withChild(deps, planned, async (child, contentBytes) => {
      const timeoutMs = deps.surveyTimeoutMs ?? surveyTimeoutMsDefault;
      const survey = await child.ask<SourceSurvey>({ ask: 'survey' }, timeoutMs);
      const [first] = survey.ranges;
      const range = { ...(first ?? { from: {}, record: 0, records: 0 }), ...(first ? partsOf(planned, first) : {}) };
      const ask = { ask: 'sample', range, records: sampleRecords } as const;
      // Planning opens none of the parts.
      const sample = await (planned.staged
        ? withChild(deps, planned, (reader) => reader.ask<SampleReply>(ask, timeoutMs), range)
        : child.ask<SampleReply>(ask, timeoutMs));
      return {
        origin: copy?.origin ?? 'parts of an earlier stage',
        sha256: copy?.sha256 ?? null,
        recordsTotal: survey.recordsTotal,
        bytesTotal: contentBytes,
        columns: (survey.staged ?? survey.columns).map(({ name, type }) => ({ name, type })),
        steps: survey.steps,
        partitions: survey.ranges.map(({ record, records }) => ({ record, records })),
        sample,
      };
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function* openBatches(deps: EtlDeps, request: BatchesRequest): AsyncGenerator<Batch, void, undefined> {
  const range = readRange(request.range);
  const { child, folder } = await openChild(deps, request, range);
  try {
    const timeoutMs = deps.stepTimeoutMs ?? stepTimeoutMsDefault;
    // A step that needs all records makes those again that came before the cursor.
    await child.ask({ ask: 'start', range, cursor: request.cursor }, deps.surveyTimeoutMs ?? surveyTimeoutMsDefault);
    const prepare = (): Promise<PreparedBatch> => {
      const promise = child.ask<PreparedBatch>({ ask: 'next' }, timeoutMs);
      // Awaited in the next turn; until then a failure must not count as unhandled.
      promise.catch(() => undefined);
      return promise;
    };
    let ahead = prepare();
    for (;;) {
      const prepared = await ahead;
      if (!prepared.last) ahead = prepare();
      const part = await storePart(deps, request, prepared);
      yield { ...prepared, part, release: () => rm(prepared.goodFile, { force: true }) };
      if (prepared.last) return;
    }
  } finally {
    await child.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** A stage's good records leave the machine before the batch commits: what a committed batch names is there. */
async function storePart(
  { objects }: EtlDeps,
  { stage = 'FULL', agency, dataKey = null }: BatchesRequest,
  { goodFile, goodCount }: PreparedBatch,
): Promise<StagedPart | null> {
  if ((stage !== 'INGEST' && stage !== 'TRANSFORM') || goodCount === 0) return null;
  if (agency === undefined) throw new FluxError('INTERNAL', `Stage ${stage} writes parts, and nobody said whose.`);
  return { ...(await objects.put(agency, createReadStream(goodFile), dataKey)), records: goodCount };
}

async function withChild<T>(
  deps: EtlDeps,
  request: OpenRequest,
  work: (child: EtlChild, contentBytes: number) => Promise<T>,
  range: Range | null = null,
): Promise<T> {
  const { child, folder, contentBytes } = await openChild(deps, request, range);
  try {
    return await work(child, contentBytes);
  } finally {
    await child.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function openChild(
  deps: EtlDeps,
  request: OpenRequest,
  range: Range | null = null,
): Promise<{ child: EtlChild; folder: string; contentBytes: number }> {
  const { definition, contract, workFolder, signal, stage = 'FULL' } = request;
  const folder = await mkdtemp(join(workFolder, 'etl-'));
  const limits = deps.growthLimits ?? growthLimitsDefault;
  let child: EtlChild | null = null;
  try {
    const input = await openInput(deps.objects, request, { range, folder, limits });
    child = new EtlChild(signal);
    const memoryMegabytes = deps.memoryMegabytes ?? memoryMegabytesDefault;
    const job = {
      definition,
      contract,
      stage,
      salts: saltsOf(deps, request),
      wanted: range?.clusters !== undefined,
      ...input,
      workFolder: folder,
      memoryMegabytes,
    };
    await child.ask({ ask: 'open', job }, deps.stepTimeoutMs ?? stepTimeoutMsDefault);
    return { child, folder, contentBytes: input.staged?.byteCount ?? input.objectByteCount };
  } catch (cause) {
    await child?.stop();
    await rm(folder, { recursive: true, force: true });
    throw cause;
  }
}

/** The keys of the salts that the pipeline names. A plan hashes nothing, and needs none. */
function saltsOf({ saltOf }: EtlDeps, { agency, definition }: OpenRequest): Record<string, string> {
  const hashes = (definition.transforms ?? []).filter(({ type, hash }) => type === 'sterilise' && hash !== undefined);
  const names = new Set(hashes.map(({ salt }) => (typeof salt === 'string' ? salt : 'agency')));
  if (!saltOf || agency === undefined) return {};
  return Object.fromEntries([...names].map((name) => [name, Buffer.from(saltOf(agency, name)).toString('hex')]));
}

function readRange(range: BatchesRequest['range']): Range {
  const { from, record, records, clusters, parts } = range as Partial<Range>;
  if (typeof from !== 'object' || typeof record !== 'number' || typeof records !== 'number') {
    throw new FluxError(
      'CHECKPOINT_INCOMPATIBLE',
      `Expected a range of this engine, found ${JSON.stringify(range).slice(0, 200)}. Start a new run.`,
    );
  }
  return { from, record, records, ...(clusters ? { clusters } : {}), ...(parts ? { parts } : {}) };
}
