import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createFileSource } from '../connectors/file-source.ts';
import type { SourceConnector } from '../connectors/source.ts';
import { FluxError } from '../errors.ts';
import { type ObjectSeal, type ObjectStore, readSealed } from '../objects/file-store.ts';
import { corrupted } from '../objects/sealed-file.ts';
import { sealedByteCount } from '../objects/sealed-format.ts';
import { EtlChild } from './child-process.ts';
import type {
  Batch,
  BatchesRequest,
  EtlEngine,
  PinnedObject,
  PinRequest,
  PipelineDefinition,
  PlanRequest,
  SourcePlan,
} from './engine-types.ts';
import { type PreparedBatch, type Range, sendSeal, type SourceSurvey } from './protocol.ts';

export interface EtlDeps {
  objects: ObjectStore;
  /** Agency -> absolute folders that its file connections may read (FLUX_SOURCE_ROOTS). */
  sourceRoots: Readonly<Record<string, readonly string[]>>;
  /** How long a child may take to open, or to prepare one batch; 120 s by default. */
  stepTimeoutMs?: number;
  /** How long reading a whole source once may take; 1 h by default. */
  surveyTimeoutMs?: number;
  /** DuckDB's memory limit in each child; 256 by default. */
  memoryMegabytes?: number;
}

const stepTimeoutMsDefault = 120_000;
const surveyTimeoutMsDefault = 3_600_000;
const memoryMegabytesDefault = 256;

const mediaTypes: Readonly<Record<string, string>> = {
  csv: 'text/csv',
  tsv: 'text/tab-separated-values',
  json: 'application/json',
  ndjson: 'application/x-ndjson',
  parquet: 'application/vnd.apache.parquet',
};

/** The ETL engine: files in, DuckDB children between, batches out. */
export function createEtlEngine(deps: EtlDeps): EtlEngine {
  const connectors: Readonly<Record<string, SourceConnector>> = { file: createFileSource(deps.sourceRoots) };
  return {
    pinSource: (request) => pinSource(deps, connectors, request),
    planSource: (request) => planSource(deps, request),
    openBatches: (request) => openBatches(deps, request),
  };
}

async function pinSource(
  deps: EtlDeps,
  connectors: Readonly<Record<string, SourceConnector>>,
  request: PinRequest,
): Promise<PinnedObject> {
  const { agency, connection, source, signal } = request;
  const connector = Object.hasOwn(connectors, connection.kind) ? connectors[connection.kind] : undefined;
  if (connector === undefined) {
    throw new FluxError(
      'SOURCE_INVALID',
      `Connection "${connection.name}" is of kind "${connection.kind}". Offered: ${Object.keys(connectors).join(', ')}.`,
    );
  }
  const { origin, modifiedAt, bytes } = await connector.open({ agency, connection, path: source.path, signal });
  const stored = await deps.objects.put(agency, bytes, request.dataKey ?? null);
  return { ...stored, origin, modifiedAt, mediaType: mediaTypes[source.format.type] ?? 'application/octet-stream' };
}

async function planSource(deps: EtlDeps, request: PlanRequest): Promise<SourcePlan> {
  return withChild(deps, request, async (child) => {
    const survey = await child.ask<SourceSurvey>({ ask: 'survey' }, deps.surveyTimeoutMs ?? surveyTimeoutMsDefault);
    const { recordsTotal, columns, steps, ranges } = survey;
    return {
      recordsTotal,
      bytesTotal: request.object.byteCount,
      columns,
      steps,
      ranges: ranges.map((range) => ({ ...range })),
    };
  });
}

async function* openBatches(deps: EtlDeps, request: BatchesRequest): AsyncGenerator<Batch, void, undefined> {
  const { child, folder } = await openChild(deps, request);
  try {
    const timeoutMs = deps.stepTimeoutMs ?? stepTimeoutMsDefault;
    await child.ask({ ask: 'start', range: readRange(request.range), cursor: request.cursor }, timeoutMs);
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
      yield { ...prepared, release: () => rm(prepared.goodFile, { force: true }) };
      if (prepared.last) return;
    }
  } finally {
    await child.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function withChild<T>(deps: EtlDeps, request: PlanRequest, work: (child: EtlChild) => Promise<T>): Promise<T> {
  const { child, folder } = await openChild(deps, request);
  try {
    return await work(child);
  } finally {
    await child.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function openChild(deps: EtlDeps, request: PlanRequest): Promise<{ child: EtlChild; folder: string }> {
  const { definition, contract, object, workFolder, signal } = request;
  const pinned = await openPinned(deps, request);
  const folder = await mkdtemp(join(workFolder, 'etl-'));
  let child: EtlChild | null = null;
  try {
    const { path: objectPath, seal } = await readableObject(pinned, definition, folder);
    child = new EtlChild(signal);
    const memoryMegabytes = deps.memoryMegabytes ?? memoryMegabytesDefault;
    const job = {
      definition,
      contract,
      objectPath,
      objectByteCount: object.byteCount,
      seal: seal && sendSeal(seal),
      workFolder: folder,
      memoryMegabytes,
    };
    await child.ask({ ask: 'open', job }, deps.stepTimeoutMs ?? stepTimeoutMsDefault);
    return { child, folder };
  } catch (cause) {
    await child?.stop();
    await rm(folder, { recursive: true, force: true });
    throw cause;
  }
}

interface Pinned {
  path: string;
  /** null: plain */
  seal: ObjectSeal | null;
}

async function openPinned({ objects }: EtlDeps, { object, dataKeyOf }: PlanRequest): Promise<Pinned> {
  const path = objects.pathOf(object.address);
  const seal = await objects.sealOf(object.address, (version) => {
    if (dataKeyOf) return dataKeyOf(version);
    throw new FluxError(
      'KEY_UNAVAILABLE',
      `The pinned object of ${object.origin} is sealed, and this worker has no keys. Set FLUX_DATA_KEY and leave FLUX_ENCRYPTION on.`,
    );
  });
  // Whoever can write to the store must not pass by the seal with a plain file, or with another object of the agency.
  if (seal === null && object.keyVersion !== undefined && object.keyVersion !== null) {
    throw corrupted(`the pinned object of ${object.origin} was sealed, and its file is plain`);
  }
  if (seal !== null && seal.sha256.toString('hex') !== object.sha256) {
    throw corrupted(`the pinned object of ${object.origin} holds another content than the run pinned`);
  }
  await checkObject(path, object, seal === null ? object.byteCount : sealedByteCount(seal));
  return { path, seal };
}

/** DuckDB reads Parquet from a plain file: one is made in the step's own folder, which goes with the step. */
async function readableObject({ path, seal }: Pinned, { source }: PipelineDefinition, folder: string): Promise<Pinned> {
  if (seal === null || source.format.type !== 'parquet') return { path, seal };
  const copy = join(folder, 'source');
  await pipeline(readSealed(path, seal), createWriteStream(copy, { flags: 'wx', mode: 0o600 }));
  return { path: copy, seal: null };
}

async function checkObject(path: string, object: PinnedObject, byteCount: number): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isFile() === true && found.size === byteCount) return;
  throw new FluxError(
    'SOURCE_UNAVAILABLE',
    `The pinned object of ${object.origin} is ${found === null ? 'not there' : `${found.size} bytes long`}, expected ${byteCount} bytes. ` +
      'Check that every worker sees the object store.',
  );
}

function readRange(range: BatchesRequest['range']): Range {
  const { from, record, records } = range as Partial<Range>;
  if (typeof from !== 'object' || typeof record !== 'number' || typeof records !== 'number') {
    throw new FluxError(
      'CHECKPOINT_INCOMPATIBLE',
      `Expected a range of this engine, found ${JSON.stringify(range).slice(0, 200)}. Start a new run.`,
    );
  }
  return { from, record, records };
}
