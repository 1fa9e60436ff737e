import { findLoad } from '../db/loads.ts';
import { keepTurn } from '../db/queue.ts';
import { readPartitionRange } from '../db/partitions.ts';
import { findSourceObject } from '../db/source-objects.ts';
import { FluxError } from '../errors.ts';
import type { Batch, BatchesRequest } from '../etl/engine-types.ts';
import type { Position } from '../checkpoint/position.ts';
import { commitBatch, type Destination } from './commit-batch.ts';
import { inSpan, type SpanOptions } from '../telemetry/tracing.ts';
import { newestObjectKey, objectKeys } from './object-keys.ts';
import { pinnedReferences } from './references.ts';
import { resumePartition } from './resume-partition.ts';
import { stagedInputOf, writesParts } from './stage-input.ts';
import { within } from './within.ts';
import type { Work } from './work.ts';

/** A source that does not hear the abort must not keep the partition. */
const goodbyeMs = 1_000;

/**
 * BATCHES: from the last verified checkpoint on, reads batch after batch and commits each in its own transaction.
 *
 * @returns drained when the worker is to stop, yielded when others' turn has come: what was committed stands, the rest is for
 *   the next taking
 */
export async function runBatches(work: Work): Promise<'completed' | 'drained' | 'yielded'> {
  const destination = await findDestination(work);
  let position = await resumePartition(work, destination);
  const reading = new AbortController();
  const batches = work.deps.engine.openBatches(await toRequest(work, position, reading.signal))[Symbol.asyncIterator]();
  const stopReading = (): void => reading.abort(work.lost.reason);
  work.lost.addEventListener('abort', stopReading, { once: true });
  try {
    for (;;) {
      const batch = await inSpan('batch.read', {}, () => nextOrDrain(batches, work.draining));
      if (batch === 'drained') return 'drained';
      const before = position;
      position = await inSpan('batch.commit', batchAttributes(before, batch), () =>
        commitBatch(work, destination, before, batch),
      );
      // A large file takes its time to go; one that cannot go goes with its folder.
      const released = batch.release().catch(() => undefined);
      if (batch.last) await released;
      requireNoViolation(work, batch, position);
      work.turn.batches += 1;
      if (batch.last) return 'completed';
      if (work.closing.aborted) return 'drained';
      if (await turnIsOver(work)) return 'yielded';
    }
  } finally {
    work.lost.removeEventListener('abort', stopReading);
    // First the abort: a source that waits inside next() hears return() only afterwards.
    reading.abort();
    await within(goodbyeMs, batches.return?.().catch(() => undefined) ?? Promise.resolve());
  }
}

function batchAttributes({ version }: Position, batch: Batch): SpanOptions {
  return {
    attributes: {
      'flux.batch': version + 1,
      'flux.records.read': batch.recordsRead,
      'flux.records.written': batch.goodCount,
      'flux.records.rejected': batch.rejected.length,
    },
  };
}

/** After each quantum the queue decides anew, and after each batch while somebody's abandoned partition waits. */
async function turnIsOver({ deps, claim, turn }: Work): Promise<boolean> {
  const { quantumBatches } = deps.config;
  if (turn.batches % quantumBatches !== 0 && deps.watch?.takeoverWaits !== true) return false;
  const kept = await keepTurn(deps.pool, claim, { quantum: quantumBatches, batches: turn.batches - turn.charged });
  turn.charged = turn.batches;
  return !kept;
}

/**
 * A broken rule of mode freeze ends the run at the first batch that holds such a record, and so does more rejected records than the
 * pipeline allows; the batch has committed, so that they can be seen.
 */
function requireNoViolation({ definition, run }: Work, { frozen }: Batch, { counts }: Position): void {
  // That they were broken is why they are put through the contract again.
  if (!definition.contract || run.reprocessOf !== null) return;
  const { name, version, maxRejectedCount } = definition.contract;
  if (frozen) {
    // A reason's own message may repeat the record's value, and a failure is kept in plain text and logged.
    const { recordNo, rule, path } = frozen;
    throw new FluxError(
      'CONTRACT_VIOLATED',
      `Record ${String(recordNo)} broke contract ${name} ${String(version)} (rule ${rule} at ${path === '' ? 'the record' : path}), ` +
        'and the pipeline allows none. Nothing was published. See the rejected records.',
      { details: { recordNo } },
    );
  }
  if (maxRejectedCount === undefined || counts.rejected <= maxRejectedCount) return;
  throw tooManyRejected({ name, version }, counts.rejected, maxRejectedCount);
}

/** More records were rejected than the pipeline allows by number. */
export function tooManyRejected(
  { name, version }: { name: string; version: number },
  rejected: number,
  allowed: number,
): FluxError {
  return new FluxError(
    'CONTRACT_VIOLATED',
    `${String(rejected)} records broke contract ${name} ${String(version)}; the pipeline allows ${String(allowed)}. ` +
      'Nothing was published. See the rejected records.',
    { details: { rejected, allowed } },
  );
}

async function findDestination(work: Work): Promise<Destination> {
  if (writesParts(work)) return 'parts';
  const { holder, claim, lake } = work;
  const load = await findLoad(holder, claim);
  if (!load) throw new FluxError('INTERNAL', `Run ${claim.runId} has partitions but no load.`);
  return { table: { schema: lake, dataset: load.dataset, loadNo: load.loadNo }, columns: load.columns };
}

async function toRequest(work: Work, position: Position, signal: AbortSignal): Promise<BatchesRequest> {
  const { holder, claim, definition, contract, folder: workFolder, run } = work;
  const staged = await stagedInputOf(work, { parts: false });
  const object = staged ? null : await findSourceObject(holder, claim);
  if (!staged && !object) throw new FluxError('INTERNAL', `Run ${claim.runId} has partitions but no pinned source.`);
  const range = await readPartitionRange(holder, claim);
  const dataKeyOf = objectKeys(work);
  const dataKey = writesParts(work) ? await newestObjectKey(work) : null;
  const references = await pinnedReferences(work);
  const { runId, agencyId: agency } = claim;
  const given = { runId, definition, contract, stage: run.stage, object, staged, references };
  const input = { ...given, agency, dataKey, dataKeyOf };
  return { ...input, range, cursor: position.cursor, workFolder, signal };
}

/** The next batch, unless the worker is told to stop before it comes. */
async function nextOrDrain(batches: AsyncIterator<Batch>, draining: AbortSignal): Promise<Batch | 'drained'> {
  if (draining.aborted) return 'drained';
  let drain: (() => void) | undefined;
  const drained = new Promise<'drained'>((resolve) => {
    drain = () => resolve('drained');
    draining.addEventListener('abort', drain, { once: true });
  });
  const next = batches.next();
  try {
    const result = await Promise.race([next, drained]);
    if (result === 'drained') {
      next.catch(() => undefined); // the abort that follows makes it fail
      return 'drained';
    }
    if (result.done === true) throw new FluxError('INTERNAL', 'The engine ended before it gave the last batch.');
    return result.value;
  } finally {
    if (drain) draining.removeEventListener('abort', drain);
  }
}
