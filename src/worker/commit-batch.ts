import { appendAudit } from '../audit/append.ts';
import { advance, type Position } from '../checkpoint/position.ts';
import { savePosition, type SavedCheckpoint } from '../checkpoint/save.ts';
import { copyIntoLoad, type LoadTable } from '../db/lake.ts';
import { advancePartition, finishPartition, insertPublishWhenDone, lockRun } from '../db/partitions.ts';
import type { Connection } from '../db/pool.ts';
import { insertRejectedRecords, writeRejected, type WrittenRejected } from '../db/rejected-records.ts';
import { refuseAgain } from '../db/reprocessing.ts';
import { insertPart } from '../db/run-parts.ts';
import { setStepCounts } from '../db/step-counts.ts';
import { together } from '../db/transaction.ts';
import { FluxError } from '../errors.ts';
import type { Batch } from '../etl/engine-types.ts';
import { appendEvents, type NewRunEvent } from '../events/append.ts';
import { metrics } from '../telemetry/metrics.ts';
import { rejectionSealer } from './seal-rejections.ts';
import { fenced, requireHeld } from './fenced.ts';
import type { Work } from './work.ts';

/** Where a run's good records go: into its load, or into parts for the stage that comes next. */
export type Destination = LoadDestination | 'parts';

export interface LoadDestination {
  table: LoadTable;
  /** The output columns, as the load was opened with. */
  columns: readonly string[];
}

/**
 * Commits one batch: rows, rejected records, counts, checkpoint, audit entry and events in ONE transaction, or none of them.
 * The last batch also completes the partition, and the last of the run's opens its PUBLISH partition.
 *
 * @returns the position after the batch
 */
export async function commitBatch(
  work: Work,
  destination: Destination,
  before: Position,
  batch: Batch,
): Promise<Position> {
  const { claim, deps, definitions } = work;
  const position = advance(before, { ...batch, rejectedCount: batch.rejected.length });
  const { saved, lastEvent, published } = await fenced(work, async (tx) => {
    const rejected = await writeRecords(tx, work, destination, { ...batch, version: position.version });
    const [, , , saved] = await together(
      tx,
      () => keepRejected(tx, work, rejected),
      () => setStepCounts(tx, claim, position.steps),
      async () => requireHeld(claim, await advancePartition(tx, claim, position.counts, { progress: true })),
      () => savePosition(tx, claim, position, { definitions, last: batch.last }),
    );
    const published = batch.last ? await completePartition(tx, work) : null;
    // Both name the checkpoint's id, and nothing after them but the commit.
    const [, appended] = await together(
      tx,
      () => auditBatch(tx, work, position, batch, saved),
      () => appendEvents(tx, claim, batchEvents(work, position, batch, saved)),
    );
    const last = appended.at(-1);
    return { saved, published, lastEvent: last ? { seq: Number(last.seq), id: last.eventId } : null };
  }).catch((cause: unknown) => {
    metrics.checkpointsSaved.inc({ success: 'false' });
    throw cause;
  });
  countBatch(batch, saved);
  deps.log.debug(batchData(work, position, batch), 'a batch is committed');
  deps.announcer.run(claim.runId);
  if (published !== null) deps.announcer.work();
  return { ...position, hash: saved.hash, lastEvent };
}

function countBatch({ recordsRead, goodCount, rejected, steps }: Batch, saved: SavedCheckpoint): void {
  metrics.checkpointsSaved.inc({ success: 'true' });
  metrics.checkpointBytes.observe(saved.byteCount);
  metrics.records.inc({ result: 'read' }, recordsRead);
  metrics.records.inc({ result: 'written' }, goodCount);
  metrics.records.inc({ result: 'rejected' }, rejected.length);
  metrics.records.inc(
    { result: 'filtered' },
    steps.reduce((sum, { recordsFiltered }) => sum + recordsFiltered, 0),
  );
}

/** Writes the good records. @returns the rejected ones, made ready to be sent meanwhile */
async function writeRecords(
  tx: Connection,
  work: Work,
  destination: Destination,
  batch: Batch & { version: number },
): Promise<WrittenRejected> {
  const seal = await rejectionSealer(tx, work, batch.rejected);
  // Both to their end: the copy has the connection until then.
  const [good, rejected] = await Promise.allSettled([
    requireWritten(tx, work, destination, batch),
    seal().then(writeRejected),
  ]);
  if (good.status === 'rejected') throw good.reason;
  if (rejected.status === 'rejected') throw rejected.reason;
  return rejected.value;
}

async function requireWritten(
  tx: Connection,
  work: Work,
  destination: Destination,
  batch: Batch & { version: number },
): Promise<void> {
  if (batch.goodCount === 0) return;
  const written = await writeGood(tx, work, destination, batch);
  if (written === batch.goodCount) return;
  throw new FluxError(
    'NOT_RECONCILED',
    `The batch announced ${String(batch.goodCount)} records, and ${String(written)} were written.`,
  );
}

async function writeGood(
  tx: Connection,
  { claim, lost }: Work,
  destination: Destination,
  { goodFile, goodCount, binaryFile, columns, part, version }: Batch & { version: number },
): Promise<number> {
  if (destination !== 'parts') {
    requireSameColumns(destination.columns, columns);
    const copy = (path: string, format: 'csv' | 'binary'): Promise<number> =>
      copyIntoLoad(tx, destination.table, columns, { path, format }, lost);
    const written = binaryFile ? await copy(binaryFile.path, 'binary') : 0;
    return goodCount === (binaryFile?.count ?? 0) ? written : written + (await copy(goodFile, 'csv'));
  }
  if (!part) return 0;
  await insertPart(tx, claim, version, part);
  return part.records;
}

/** COPY would leave a column null that it is not given. */
function requireSameColumns(opened: readonly string[], found: readonly string[]): void {
  if (opened.length === found.length && found.every((name) => opened.includes(name))) return;
  throw new FluxError(
    'NOT_RECONCILED',
    `The load was opened with the columns ${opened.join(', ')}, and the batch holds ${found.join(', ')}. Start a new run.`,
  );
}

/** Into the quarantine; a record that was there already stays where it is, with the new verdict. */
async function keepRejected(
  tx: Connection,
  { claim, run, definitions }: Work,
  rejected: WrittenRejected,
): Promise<void> {
  if (run.reprocessOf === null) return insertRejectedRecords(tx, claim, definitions.contract, rejected);
  const { records } = rejected;
  const held = await refuseAgain(tx, claim, run.reprocessOf, definitions.contract, records);
  if (held !== records.length) throw takenOver(run.reprocessOf);
}

/** Another run reprocesses what was ours. */
export function takenOver(firstRun: string): FluxError {
  return new FluxError(
    'RUN_CONFLICT',
    `Another run has taken over the rejected records of run ${firstRun}, because this one was over. Nothing of it was published.`,
    { details: { runId: firstRun } },
  );
}

async function completePartition(tx: Connection, { claim }: Work): Promise<number | null> {
  requireHeld(claim, await finishPartition(tx, claim, 'COMPLETED'));
  await lockRun(tx, claim);
  return insertPublishWhenDone(tx, claim);
}

async function auditBatch(
  tx: Connection,
  work: Work,
  position: Position,
  batch: Batch,
  saved: SavedCheckpoint,
): Promise<void> {
  await appendAudit(tx, {
    actor: `worker:${work.deps.config.id}`,
    role: 'worker',
    action: 'batch.commit',
    resourceType: 'run',
    resourceId: work.claim.runId,
    success: true,
    after: {
      ...batchData(work, position, batch),
      checkpointId: saved.checkpointId,
      checkpointHash: saved.hash.toString('hex'),
    },
    traceId: work.run.traceId,
  });
}

function batchData({ claim }: Work, position: Position, batch: Batch): Record<string, unknown> {
  return {
    partition: claim.partitionNo,
    epoch: claim.epoch,
    batch: position.version,
    firstRecord: batch.firstRecord,
    lastRecord: batch.lastRecord,
    read: batch.recordsRead,
    written: batch.goodCount,
    rejected: batch.rejected.length,
    filtered: batch.steps.reduce((sum, { recordsFiltered }) => sum + recordsFiltered, 0),
    ...(batch.dropped && batch.dropped.length > 0 ? { droppedValues: batch.dropped } : {}),
    bytes: batch.bytesRead,
    last: batch.last,
  };
}

/** Leniency is never silent. */
function droppedWords({ dropped = [] }: Batch): string {
  const values = dropped.reduce((sum, { count }) => sum + count, 0);
  return values === 0 ? '' : `, ${String(values)} values left out`;
}

function batchEvents(work: Work, position: Position, batch: Batch, saved: SavedCheckpoint): NewRunEvent[] {
  const partitionNo = work.claim.partitionNo;
  const place = `of partition ${String(partitionNo)}`;
  const number = String(position.version);
  const events: NewRunEvent[] = [
    {
      name: 'BatchCommitted',
      message: `Batch ${number} ${place}: ${String(batch.recordsRead)} read, ${String(batch.goodCount)} written${droppedWords(batch)}.`,
      partitionNo,
      data: batchData(work, position, batch),
    },
    {
      name: 'CheckpointSaved',
      message: `Checkpoint ${number} ${place} saved.`,
      partitionNo,
      data: {
        partition: partitionNo,
        version: position.version,
        checkpointId: saved.checkpointId,
        hash: saved.hash.toString('hex'),
      },
    },
  ];
  if (batch.rejected.length > 0) {
    events.push({
      name: 'RecordsRejected',
      stage: 'INGEST',
      step: 'validate',
      message: `${String(batch.rejected.length)} records ${place} broke the contract.`,
      partitionNo,
      data: {
        partition: partitionNo,
        batch: position.version,
        rejected: batch.rejected.length,
        rules: countRules(batch),
      },
    });
  }
  return events;
}

/** How often each rule was broken; the commonest twenty, because an event is no report. */
function countRules(batch: Batch): { path: string; rule: string; count: number }[] {
  const counts = new Map<string, { path: string; rule: string; count: number }>();
  for (const { path, rule } of batch.rejected.flatMap(({ reasons }) => reasons)) {
    const key = `${path} ${rule}`;
    const seen = counts.get(key) ?? { path, rule, count: 0 };
    counts.set(key, { ...seen, count: seen.count + 1 });
  }
  return [...counts.values()].sort((a, b) => b.count - a.count).slice(0, 20);
}
