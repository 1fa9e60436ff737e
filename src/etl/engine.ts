import { mkdtemp, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createFileSource } from '../connectors/file-source.ts';
import type { SourceConnector } from '../connectors/source.ts';
import { FluxError } from '../errors.ts';
import type { ObjectStore } from '../objects/file-store.ts';
import { EtlChild } from './child-process.ts';
import type {
  Batch,
  BatchesRequest,
  EtlEngine,
  PinnedObject,
  PinRequest,
  PlanRequest,
  SourcePlan,
} from './engine-types.ts';
import type { PreparedBatch, Range, SourceSurvey } from './protocol.ts';

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
  const stored = await deps.objects.put(agency, bytes);
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
  const objectPath = deps.objects.pathOf(object.address);
  await checkObject(objectPath, object);
  const folder = await mkdtemp(join(workFolder, 'etl-'));
  let child: EtlChild | null = null;
  try {
    child = new EtlChild(signal);
    const memoryMegabytes = deps.memoryMegabytes ?? memoryMegabytesDefault;
    const job = {
      definition,
      contract,
      objectPath,
      objectByteCount: object.byteCount,
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

async function checkObject(path: string, object: PinnedObject): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isFile() === true && found.size === object.byteCount) return;
  throw new FluxError(
    'SOURCE_UNAVAILABLE',
    `The pinned object of ${object.origin} is ${found === null ? 'not there' : `${found.size} bytes long`}, expected ${object.byteCount} bytes. ` +
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
