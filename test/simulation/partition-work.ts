import { decodeCheckpoint, type Definitions, encodeCheckpoint } from '../../src/checkpoint/body.ts';
import { advance, beginning, type Position } from '../../src/checkpoint/position.ts';
import type { Claim } from '../../src/db/queue.ts';
import type { StepTotal } from '../../src/db/step-counts.ts';
import { FluxError } from '../../src/errors.ts';
import { findDifferences } from '../../src/worker/reconcile.ts';
import { readBatch, type SimulatedBatch } from './source.ts';
import * as statements from './statements.ts';
import { type PartitionRow, type Session, type SourceObject, txOf } from './storage.ts';
import { fenced, type Held, isStopping, requireHeld } from './held.ts';
import { clockOf, connect, disconnect, type Life, sleep, sql } from './world.ts';

const definitions: Definitions = { pipeline: { name: 'simulated', version: 1 }, contract: null };

/** src/worker/plan-run.ts: pins the source and cuts it. */
export function* planRun(held: Held): Life<void> {
  const { world, process, taken } = held;
  const object: SourceObject = { ...world.source };
  yield* sleep(5);
  if (isStopping(held)) throw new FluxError('UNAVAILABLE', 'aborted');
  const partitions = 1 + ((object.version + object.count) % 2);
  const size = Math.ceil(object.count / partitions);
  const ranges = Array.from({ length: partitions }, (_, i) => ({
    from: i * size,
    to: Math.min((i + 1) * size, object.count),
  }));
  yield* fenced(held, function* (session) {
    yield* sql(session, () => {
      txOf(session).object = object;
      statements.insertPartitions(session, ranges);
    });
    requireHeld(
      held,
      yield* sql(session, () => statements.finishPartition(world.db, session, world, taken, 'COMPLETED')),
    );
    const data = { partitions: ranges.length };
    yield* sql(session, () =>
      statements.appendEvents(world.db, session, clockOf(world, process), [{ name: 'PlanMade', partitionNo: 0, data }]),
    );
  });
  world.hint();
}

/** src/worker/run-batches.ts. */
export function* runBatches(held: Held): Life<'completed' | 'drained' | 'yielded'> {
  const { world, taken } = held;
  const { object, range } = yield* sql(held.session, () => ({
    object: world.db.object as SourceObject,
    range: world.db.partitions.get(taken.partitionNo) as PartitionRow,
  }));
  let position = yield* resumePartition(held);
  for (;;) {
    if (isStopping(held)) return 'drained';
    const source = world.bug === 'a resume reads the source as it is now' ? world.source : object;
    const batch = readBatch(source, range, position.cursor);
    yield* sleep(1 + world.random.below(20));
    if (isStopping(held)) return 'drained';
    position = yield* commitBatch(held, position, batch);
    if (batch.last) return 'completed';
    // The queue's answer at the end of a quantum; test/db/fair-share.test.ts has its rule.
    if (world.random.chance(0.1)) return 'yielded';
  }
}

/** src/worker/resume-partition.ts. */
function* resumePartition(held: Held): Life<Position> {
  const { world, process, taken, session } = held;
  const found = yield* sql(session, () =>
    statements.loadCheckpoint(world.db, clockOf(world, process), taken.partitionNo),
  );
  if (found === null) return beginning;
  const position = decodeCheckpoint(found.row, definitions);
  if (found.corrupted.length > 0) yield* undoAfter(held, position, found.corrupted);
  if (world.bug !== 'the cursor is off by one after a resume') return position;
  return { ...position, cursor: String(Number(position.cursor) + 1) };
}

function* undoAfter(held: Held, position: Position, corrupted: number[]): Life<void> {
  const { world, process, taken } = held;
  yield* fenced(held, function* (session) {
    yield* sql(session, () =>
      txOf(session).undo.push({
        partitionNo: taken.partitionNo,
        version: position.version,
        span: committedAfter(held, position.version),
      }),
    );
    const { counts, steps } = position;
    const told = { counts, steps, progress: false };
    requireHeld(held, yield* sql(session, () => statements.advancePartition(world.db, session, world, taken, told)));
    const data = {
      partition: taken.partitionNo,
      rejectedVersions: corrupted,
      resumesFrom: position.version,
      hash: position.hash?.toString('hex') ?? null,
    };
    yield* sql(session, () =>
      statements.appendEvents(world.db, session, clockOf(world, process), [
        { name: 'CheckpointRejected', partitionNo: taken.partitionNo, data },
      ]),
    );
  });
}

/** recordsCommittedAfter(): from the run's history, because the checkpoints cannot be believed. */
function committedAfter({ world, taken }: Held, version: number): { first: number; last: number } | null {
  const later = world.db.events.filter(
    ({ name, partitionNo, data }) =>
      name === 'BatchCommitted' && partitionNo === taken.partitionNo && (data['batch'] as number) > version,
  );
  const numbers = later.flatMap(({ data }) => [data['firstRecord'], data['lastRecord']]).filter((no) => no !== null);
  return numbers.length === 0
    ? null
    : { first: Math.min(...(numbers as number[])), last: Math.max(...(numbers as number[])) };
}

/** src/worker/commit-batch.ts. */
function* commitBatch(held: Held, before: Position, batch: SimulatedBatch): Life<Position> {
  const { world, process } = held;
  try {
    return yield* commitOnce(held, before, batch, true);
  } catch (cause) {
    const again = world.bug === 'a batch whose COMMIT was ambiguous is sent again';
    if (!again || !(cause instanceof FluxError) || cause.code !== 'UNAVAILABLE') throw cause;
    disconnect(world, process, held.session);
    held.session = yield* connect(world, process);
    return yield* commitOnce(held, before, batch, false);
  }
}

function* commitOnce(held: Held, before: Position, batch: SimulatedBatch, unique: boolean): Life<Position> {
  const { world, taken } = held;
  const position = advance(before, batch);
  const claim = { agencyId: 'a', runId: 'r', partitionNo: taken.partitionNo, epoch: taken.epoch } as Claim;
  const { body, hash } = encodeCheckpoint(claim, position, definitions);
  const apart = world.bug === 'the checkpoint is saved outside the batch’s transaction';
  const save = (session: Session): void =>
    statements.saveCheckpoint(
      world.db,
      session,
      {
        partitionNo: taken.partitionNo,
        version: position.version,
        epoch: taken.epoch,
        status: batch.last ? 'COMPLETED' : 'IN_PROGRESS',
        body,
        hash,
      },
      { unique },
    );
  const lastEvent = yield* fenced(held, function* (session) {
    yield* sql(session, () => writeRecords(held, session, batch));
    const told = { counts: position.counts, steps: position.steps, progress: true };
    requireHeld(held, yield* sql(session, () => statements.advancePartition(world.db, session, world, taken, told)));
    yield* sql(session, () => {
      if (!apart) save(session);
      const audit = { partitionNo: taken.partitionNo, batch: position.version, hash: hash.toString('hex') };
      txOf(session).audit.push({ action: 'batch.commit', ...audit });
    });
    if (batch.last) yield* complete(held, session);
    const seq = yield* sql(session, () => appendBatchEvents(held, session, { position, batch, hash }));
    return { seq, id: '' };
  });
  world.hint();
  if (apart) yield* fenced(held, (session) => sql(session, () => save(session)));
  return { ...position, hash, lastEvent };
}

function writeRecords({ taken }: Held, session: Session, { records }: SimulatedBatch): void {
  const { partitionNo, epoch } = taken;
  txOf(session).rows.push(...records.map((record) => ({ ...record, partitionNo, epoch })));
}

function* complete(held: Held, session: Session): Life<void> {
  const { world, taken } = held;
  requireHeld(
    held,
    yield* sql(session, () => statements.finishPartition(world.db, session, world, taken, 'COMPLETED')),
  );
  yield* sql(session, () => statements.lockRun(world.db, session));
  yield* sql(session, () => statements.insertPublishWhenDone(world.db, session));
}

function appendBatchEvents(
  { world, process, taken }: Held,
  session: Session,
  { position, batch, hash }: { position: Position; batch: SimulatedBatch; hash: Buffer },
): number {
  const { partitionNo, epoch } = taken;
  const data = {
    partition: partitionNo,
    epoch,
    batch: position.version,
    firstRecord: batch.firstRecord,
    lastRecord: batch.lastRecord,
    read: batch.recordsRead,
    written: batch.goodCount,
    rejected: batch.rejectedCount,
    filtered: 0,
    bytes: batch.bytesRead,
    last: batch.last,
  };
  return statements.appendEvents(world.db, session, clockOf(world, process), [
    { name: 'BatchCommitted', partitionNo, data },
    {
      name: 'CheckpointSaved',
      partitionNo,
      data: { partition: partitionNo, version: position.version, hash: hash.toString('hex') },
    },
  ]);
}

/** src/worker/publish-run.ts. */
export function* publishRun(held: Held): Life<void> {
  const { world, process, taken } = held;
  yield* fenced(held, function* (session) {
    const differences = yield* sql(session, () => reconcile(held));
    if (differences.length > 0) throw new FluxError('NOT_RECONCILED', differences.join('; '));
    requireHeld(
      held,
      yield* sql(session, () => statements.finishPartition(world.db, session, world, taken, 'COMPLETED')),
    );
    yield* sql(session, () => {
      txOf(session).published = true;
      statements.appendEvents(
        world.db,
        session,
        clockOf(world, process),
        [
          { name: 'LoadPublished', partitionNo: taken.partitionNo, data: {} },
          { name: 'RunCompleted', data: {} },
        ],
        { from: ['IN_PROGRESS'], to: 'COMPLETED', finishes: true },
      );
    });
  });
  world.hint();
}

function reconcile({ world: { db } }: Held): string[] {
  const totals = new Map<number, StepTotal>();
  for (const { steps } of db.partitions.values()) {
    steps.forEach((step, i) => {
      const sum = totals.get(i);
      totals.set(i, sum === undefined ? step : addUp(sum, step));
    });
  }
  return findDifferences({
    steps: [...totals.values()],
    recordsTotal: (db.object as SourceObject).count,
    destination: db.rows.filter(({ rejected }) => !rejected).length,
    rejected: db.rows.filter(({ rejected }) => rejected).length,
  });
}

function addUp(a: StepTotal, b: StepTotal): StepTotal {
  return {
    ...a,
    recordsIn: a.recordsIn + b.recordsIn,
    recordsOut: a.recordsOut + b.recordsOut,
    recordsRejected: a.recordsRejected + b.recordsRejected,
    recordsFiltered: a.recordsFiltered + b.recordsFiltered,
  };
}
