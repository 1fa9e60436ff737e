import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

import type {
  Batch,
  BatchesRequest,
  DryRunReport,
  EtlEngine,
  OutputColumn,
  RejectedRecord,
  SourcePlan,
  StepCount,
} from '../../src/etl/engine-types.ts';

/**
 * An engine whose source is a list of numbers instead of a file, so that tests of the worker decide what each batch holds and
 * what goes wrong. It keeps the interface's promises: batches in order, files for COPY, one step count per step.
 */
export interface FakeSource {
  /** One per record; record numbers begin at 1. */
  values: readonly (number | 'bad' | 'drop')[];
  partitions: number;
  batchRecords: number;
  columns?: readonly OutputColumn[];
  /** What the plan says the source holds, where that is to differ from the truth. */
  recordsTotal?: number | null;
  /** Called before a batch is handed over; may throw, or wait. */
  beforeBatch?: (at: { partition: number; batch: number; signal: AbortSignal }) => Promise<void> | void;
  beforePin?: (signal: AbortSignal) => Promise<void> | void;
  /** Changes a batch before it is handed over. */
  changeBatch?: (batch: Batch) => Batch;
}

const columns: readonly OutputColumn[] = [
  { name: 'id', type: 'bigint' },
  { name: 'value', type: 'bigint' },
];

export function fakeEngine(source: FakeSource): EtlEngine {
  return {
    async pinSource({ signal }) {
      await source.beforePin?.(signal);
      return {
        sha256: 'ab'.repeat(32),
        byteCount: source.values.length * 10,
        address: 'fake',
        origin: 'fake:list',
        mediaType: 'text/plain',
        modifiedAt: null,
      };
    },
    planSource: () => Promise.resolve(planOf(source)),
    requireNoPersonalData: () => Promise.resolve(),
    describeOutput: () => Promise.resolve(planOf(source)),
    dryRun: () => Promise.resolve(dryRunOf(source)),
    storeReference: () => Promise.reject(new Error('a list joins nothing')),
    cutRecords: () => {
      throw new Error('a list has no places');
    },
    openBatches: (request) => batchesOf(source, request),
  };
}

function planOf(source: FakeSource): SourcePlan {
  const size = Math.ceil(source.values.length / source.partitions);
  return {
    recordsTotal: source.recordsTotal === undefined ? source.values.length : source.recordsTotal,
    bytesTotal: source.values.length * 10,
    columns: source.columns ?? columns,
    steps: stepsOf([]).map(({ stage, step, kind }) => ({ stage, step, kind })),
    ranges: Array.from({ length: source.partitions }, (_, i) => ({
      partition: i + 1,
      from: i * size,
      to: Math.min((i + 1) * size, source.values.length),
    })),
  };
}

/** All of the list is its sample. */
function dryRunOf(source: FakeSource): DryRunReport {
  const { recordsTotal, bytesTotal, columns: output, steps, ranges } = planOf(source);
  const counts = stepsOf(source.values);
  const [rejected, filtered] = (['recordsRejected', 'recordsFiltered'] as const).map((name) =>
    counts.reduce((sum, step) => sum + step[name], 0),
  ) as [number, number];
  const recordsRead = source.values.length;
  const recordsGood = recordsRead - rejected - filtered;
  return {
    origin: 'fake:list',
    sha256: 'ab'.repeat(32),
    recordsTotal,
    bytesTotal,
    columns: output,
    steps,
    partitions: ranges.map((range) => {
      const { from, to } = range as { from: number; to: number };
      return { record: from, records: to - from };
    }),
    sample: {
      ...{ recordsRead, recordsGood, recordsRejected: rejected, recordsFiltered: filtered },
      ...{ places: 1, firstRecord: 1, lastRecord: recordsRead, widestGap: 0 },
      ...{ findings: [], personalData: [] },
    },
  };
}

async function* batchesOf(source: FakeSource, request: BatchesRequest): AsyncGenerator<Batch> {
  const { partition, from, to } = request.range as { partition: number; from: number; to: number };
  let at = request.cursor === null ? from : (JSON.parse(request.cursor) as { at: number }).at;
  for (;;) {
    const end = Math.min(at + source.batchRecords, to);
    const batch = await makeBatch(source, request, { at, end, last: end >= to });
    await source.beforeBatch?.({
      partition,
      batch: Math.floor((at - from) / source.batchRecords) + 1,
      signal: request.signal,
    });
    request.signal.throwIfAborted();
    yield source.changeBatch?.(batch) ?? batch;
    if (batch.last) return;
    at = end;
  }
}

async function makeBatch(
  source: FakeSource,
  { workFolder, definition }: BatchesRequest,
  { at, end, last }: { at: number; end: number; last: boolean },
): Promise<Batch> {
  const values = source.values.slice(at, end);
  const names = (source.columns ?? columns).map(({ name }) => name);
  const good = values.flatMap((value, i) => (typeof value === 'number' ? [{ no: at + i + 1, value }] : []));
  const lines = good.map(({ no, value }) => [no, ...names.map((name) => (name === 'id' ? no : value))].join(','));
  const rejected: RejectedRecord[] = values.flatMap((value, i) =>
    value === 'bad'
      ? [
          {
            recordNo: at + i + 1,
            byteOffset: (at + i) * 10,
            reasons: [{ path: '/value', rule: 'type', message: 'expected a number' }],
            raw: 'bad',
          },
        ]
      : [],
  );
  const first = definition.contract?.onViolation === 'fail' ? rejected[0] : undefined;
  await mkdir(workFolder, { recursive: true });
  const goodFile = path.join(workFolder, `${String(at)}.csv`);
  await writeFile(goodFile, lines.map((line) => `${line}\n`).join(''));
  return {
    cursor: JSON.stringify({ at: end }),
    last,
    recordsRead: values.length,
    bytesRead: values.length * 10,
    goodFile,
    columns: names,
    goodCount: good.length,
    rejected,
    frozen: first ? { recordNo: first.recordNo, path: '/value', rule: 'type' } : null,
    steps: stepsOf(values),
    firstRecord: values.length > 0 ? at + 1 : null,
    lastRecord: values.length > 0 ? end : null,
    release: () => rm(goodFile, { force: true }),
  };
}

function stepsOf(values: FakeSource['values']): StepCount[] {
  const read = values.length;
  const bad = values.filter((value) => value === 'bad').length;
  const dropped = values.filter((value) => value === 'drop').length;
  const count = (recordsIn: number, recordsRejected: number, recordsFiltered: number) => ({
    recordsIn,
    recordsRejected,
    recordsFiltered,
    recordsOut: recordsIn - recordsRejected - recordsFiltered,
  });
  return [
    { stage: 'INGEST', step: 'read', kind: 'read', ...count(read, 0, 0) },
    { stage: 'INGEST', step: 'validate', kind: 'validate', ...count(read, bad, 0) },
    { stage: 'TRANSFORM', step: 'filter', kind: 'filter', ...count(read - bad, 0, dropped) },
    { stage: 'EXPORT', step: 'write', kind: 'write', ...count(read - bad - dropped, 0, 0) },
  ];
}
