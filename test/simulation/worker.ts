import { isFluxError, FluxError, toFluxError } from '../../src/errors.ts';
import { backoff } from '../../src/queue/backoff.ts';
import { leaseAnswered, leaseDue, leaseTaken } from '../../src/queue/lease-life.ts';
import { decideEnding, type Ending, isPoison } from '../../src/worker/decide-ending.ts';
import { fenced, type Held, isStopping, requireHeld } from './held.ts';
import { planRun, publishRun, runBatches } from './partition-work.ts';
import * as statements from './statements.ts';
import type { Taken } from './statements.ts';
import { endSession, type Session } from './storage.ts';
import {
  clockOf,
  connect,
  disconnect,
  inTransaction,
  type Life,
  pooled,
  type Process,
  sleep,
  sql,
  start,
  type World,
} from './world.ts';

export const times = { leaseMs: 5_000, heartbeatMs: 1_500, pollMs: 500 };
const takingsMax = 5;

/** src/worker/worker.ts: looks, works, looks again. */
export function* workerLife(world: World, process: Process): Life<void> {
  while (!process.draining) {
    const taken = yield* look(world, process);
    if (taken) yield* executePartition(world, process, taken);
    else yield* sleep(times.pollMs);
  }
}

function* look(world: World, process: Process): Life<Taken | null> {
  const { db } = world;
  try {
    const overdue = yield* pooled(() => {
      const clock = clockOf(world, process);
      if (world.endsBackends) for (const holder of statements.expiredHolders(db, clock)) endSession(db, holder);
      return statements.isCancelOverdue(db, clock);
    });
    if (overdue) yield* forceCancels(world, process);
    return yield* pooled(() => statements.claimPartition(db, clockOf(world, process), process.name, times.leaseMs));
  } catch {
    return null;
  }
}

/** src/worker/force-cancels.ts. */
function* forceCancels(world: World, process: Process): Life<void> {
  const session = yield* connect(world, process);
  try {
    yield* sql(session, () => {
      for (const { holder, status } of world.db.partitions.values()) {
        if (status === 'EXECUTING' && holder?.open === true) endSession(world.db, holder);
      }
    });
    yield* inTransaction(
      world,
      session,
      () => statements.lockPartitions(world.db, session, 'update'),
      function* () {
        yield* sql(session, () =>
          statements.cancelPartitions(world.db, session, { statuses: ['AVAILABLE', 'EXECUTING'] }),
        );
        yield* sql(session, () =>
          statements.appendEvents(
            world.db,
            session,
            clockOf(world, process),
            [{ name: 'RunCancelled', data: { forced: true } }],
            {
              from: ['CANCELLING'],
              to: 'CANCELLED',
              finishes: true,
            },
          ),
        );
      },
    );
  } catch (cause) {
    if (!isFluxError(cause, 'INVALID_TRANSITION')) throw cause;
  } finally {
    disconnect(world, process, session);
  }
}

/** src/worker/execute-partition.ts. */
function* executePartition(world: World, process: Process, taken: Taken): Life<void> {
  const lease = { life: leaseTaken(world.now), given: false };
  const held: Held = { world, process, taken, lease, session: null as unknown as Session };
  start(world, process, keepLease(held));
  try {
    const ending = yield* attempt(held);
    if (ending === 'completed' || lease.life.lost !== null) return;
    if (ending.kind === 'failed' && ending.error.code === 'LEASE_LOST') return;
    yield* withHolder(held, () => settle(held, ending));
  } catch {
    // Abandoned: rescue and the next claim take care.
  } finally {
    lease.given = true;
  }
}

/** src/queue/lease.ts. */
function* keepLease(held: Held): Life<void> {
  const { world, process, lease, taken } = held;
  for (;;) {
    yield* sleep(times.heartbeatMs);
    if (lease.given) return;
    lease.life = leaseDue(lease.life, world.now, times);
    if (lease.life.lost === null) {
      const sentAt = world.now;
      try {
        const answer = yield* pooled(() =>
          statements.heartbeat(world.db, clockOf(world, process), taken, times.leaseMs),
        );
        lease.life = leaseAnswered(lease.life, sentAt, answer);
      } catch {
        continue;
      }
    }
    if (lease.life.lost === null || lease.given) continue;
    if ((held.session as Session | null) !== null) disconnect(world, process, held.session);
    return;
  }
}

function* attempt(held: Held): Life<'completed' | Ending> {
  try {
    return yield* withHolder(held, function* () {
      yield* openWork(held);
      const ended = yield* runKind(held);
      return ended === 'completed' ? ended : { kind: 'drained' as const, yielded: ended === 'yielded' };
    });
  } catch (cause) {
    if (isStopping(held) && held.taken.kind === 'PLAN') return { kind: 'drained' };
    return { kind: 'failed', error: toFluxError(cause) };
  }
}

function* withHolder<T>(held: Held, use: () => Life<T>): Life<T> {
  const { world, process, taken } = held;
  held.session = yield* connect(world, process);
  try {
    const { session } = held;
    requireHeld(
      held,
      yield* sql(session, () => statements.recordHolder(world.db, clockOf(world, process), session, taken)),
    );
    return yield* use();
  } finally {
    disconnect(world, process, held.session);
  }
}

function* openWork(held: Held): Life<void> {
  const { world, process, taken } = held;
  if (isPoison({ takings: taken.takings, takingsMax })) throw new FluxError('POISON_PARTITION', 'taken too often');
  const first = world.db.run.status === 'PENDING' && world.db.run.attempt === 1;
  const data = { partition: taken.partitionNo, kind: taken.kind, epoch: taken.epoch, worker: process.name };
  const name = taken.takenOver ? ('PartitionTakenOver' as const) : ('PartitionClaimed' as const);
  const events = [
    ...(first ? [{ name: 'RunStarted' as const, data: {} }] : []),
    { name: name, partitionNo: taken.partitionNo, data },
  ];
  yield* fenced(held, (session) =>
    sql(session, () =>
      statements.appendEvents(world.db, session, clockOf(world, process), events, {
        from: ['PENDING', 'IN_PROGRESS'],
        to: 'IN_PROGRESS',
      }),
    ),
  );
  world.hint();
}

function* runKind(held: Held): Life<'completed' | 'drained' | 'yielded'> {
  switch (held.taken.kind) {
    case 'PLAN':
      yield* planRun(held);
      return 'completed';
    case 'BATCHES':
      return yield* runBatches(held);
    case 'PUBLISH':
      yield* publishRun(held);
      return 'completed';
  }
}

/** src/worker/settle.ts. */
function* settle(held: Held, ending: Ending): Life<void> {
  const { world, session, taken } = held;
  try {
    const takings = yield* sql(session, () => world.db.partitions.get(taken.partitionNo)?.takings ?? taken.takings);
    const decision = decideEnding(ending, { takings, takingsMax });
    switch (decision.act) {
      case 'release':
      case 'yield':
        return yield* giveBack(held, { reason: decision.act, delayMs: 0, uncount: true });
      case 'retry':
        return yield* giveBack(held, {
          reason: decision.error.code,
          delayMs: backoff(takings, world.random.next()),
          uncount: false,
        });
      case 'poison':
        return yield* fail(held, new FluxError('POISON_PARTITION', decision.error.message));
      case 'fail':
        return yield* fail(held, decision.error);
      case 'stopBeside':
        return yield* stopBeside(held);
    }
  } catch (cause) {
    if (isFluxError(cause, 'INVALID_TRANSITION')) return yield* stopBeside(held);
    throw cause;
  }
}

function* giveBack(held: Held, how: { reason: string; delayMs: number; uncount: boolean }): Life<void> {
  const { world, process, taken } = held;
  yield* fenced(held, function* (session) {
    requireHeld(
      held,
      yield* sql(session, () => statements.returnPartition(world.db, session, clockOf(world, process), taken, how)),
    );
    const data = { partition: taken.partitionNo, epoch: taken.epoch, reason: how.reason };
    yield* sql(session, () =>
      statements.appendEvents(world.db, session, clockOf(world, process), [
        { name: 'PartitionRetried', partitionNo: taken.partitionNo, data },
      ]),
    );
  });
  world.hint();
}

function* fail(held: Held, error: FluxError): Life<void> {
  const { world, process, taken } = held;
  world.log.push(`FAILED ${error.code}: ${error.message}`);
  yield* fenced(held, function* (session) {
    yield* sql(session, () => statements.lockPartitions(world.db, session, 'noKeyUpdate'));
    requireHeld(held, yield* sql(session, () => statements.finishPartition(world.db, session, world, taken, 'FAILED')));
    yield* sql(session, () =>
      statements.cancelPartitions(world.db, session, {
        statuses: ['AVAILABLE', 'EXECUTING'],
        except: taken.partitionNo,
      }),
    );
    const failure = { class: error.class, code: error.code, message: '' };
    yield* sql(session, () =>
      statements.appendEvents(
        world.db,
        session,
        clockOf(world, process),
        [{ name: 'RunFailed', partitionNo: taken.partitionNo, data: { ...failure, partition: taken.partitionNo } }],
        { from: ['PENDING', 'IN_PROGRESS'], to: 'FAILED', finishes: true, failure },
      ),
    );
  });
  world.hint();
}

/** src/worker/stop-beside.ts. */
function* stopBeside(held: Held): Life<void> {
  const { world, process, taken } = held;
  yield* fenced(held, function* (session) {
    requireHeld(
      held,
      yield* sql(session, () => statements.finishPartition(world.db, session, world, taken, 'CANCELLED')),
    );
    yield* sql(session, () => statements.lockRun(world.db, session));
    const { status } = world.db.run;
    if (status === 'PENDING' || status === 'IN_PROGRESS') throw new FluxError('INTERNAL', `${status} refused an event`);
    if (status !== 'CANCELLING') return;
    const waitingFor = yield* sql(session, () => statements.countOpenPartitions(world.db, session));
    const data = { partition: taken.partitionNo, epoch: taken.epoch, waitingFor };
    const acknowledged = { name: 'CancelAcknowledged' as const, partitionNo: taken.partitionNo, data };
    yield* sql(session, () =>
      waitingFor > 0
        ? statements.appendEvents(world.db, session, clockOf(world, process), [acknowledged], {
            from: ['CANCELLING'],
            to: 'CANCELLING',
          })
        : statements.appendEvents(
            world.db,
            session,
            clockOf(world, process),
            [acknowledged, { name: 'RunCancelled', data: { forced: false } }],
            { from: ['CANCELLING'], to: 'CANCELLED', finishes: true },
          ),
    );
  });
  world.hint();
}
