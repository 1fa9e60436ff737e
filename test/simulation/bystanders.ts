import { forbids } from '../../src/domain/run-actions.ts';
import { FluxError } from '../../src/errors.ts';
import * as statements from './statements.ts';
import type { EventRow, Session } from './storage.ts';
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

const graceMs = 3_000;

/** Somebody who cancels the run now and then, and resumes it when it has ended before its time. */
export function* operatorLife(world: World, process: Process): Life<void> {
  for (;;) {
    yield* sleep(50 + world.random.below(world.faulty ? 3_000 : 500));
    const { status } = world.db.run;
    try {
      if (status === 'FAILED' || (status === 'CANCELLED' && world.random.chance(0.7))) {
        yield* change(world, process, (session) => resumeRun(world, process, session));
      } else if (world.faulty && world.random.chance(0.1)) {
        yield* change(world, process, (session) => cancelRun(world, process, session));
      }
    } catch (cause) {
      if (!(cause instanceof FluxError)) throw cause;
    }
  }
}

function* change(world: World, process: Process, work: (session: Session) => Life<void>): Life<void> {
  const session = yield* connect(world, process);
  try {
    yield* work(session);
    world.hint();
  } finally {
    disconnect(world, process, session);
  }
}

function requireAllowed(world: World, action: 'CANCEL' | 'RESUME'): void {
  const forbidden = forbids({ id: 'r', status: world.db.run.status }, action);
  if (forbidden !== null) throw new FluxError('INVALID_TRANSITION', forbidden);
}

/** src/domain/cancel-run.ts. */
function* cancelRun(world: World, process: Process, session: Session): Life<void> {
  const { db } = world;
  const pending = db.run.status === 'PENDING';
  const lockAll = (): void => statements.lockPartitions(db, session, pending ? 'update' : 'noKeyUpdate');
  yield* inTransaction(world, session, lockAll, function* () {
    yield* sql(session, () => requireAllowed(world, 'CANCEL'));
    const before = db.run.status;
    if (before === 'CANCELLING' || before === 'CANCELLED') return;
    const statuses = before === 'PENDING' ? (['AVAILABLE', 'EXECUTING'] as const) : (['AVAILABLE'] as const);
    yield* sql(session, () => statements.cancelPartitions(db, session, { statuses }));
    const waitingFor = yield* sql(session, () =>
      before === 'PENDING' ? [] : statements.askHoldersToStop(db, session, clockOf(world, process).now + graceMs),
    );
    const requested = { name: 'CancelRequested' as const, data: { waitingFor } };
    yield* sql(session, () =>
      waitingFor.length > 0
        ? statements.appendEvents(db, session, clockOf(world, process), [requested], {
            from: ['IN_PROGRESS'],
            to: 'CANCELLING',
          })
        : statements.appendEvents(
            db,
            session,
            clockOf(world, process),
            [requested, { name: 'RunCancelled', data: { forced: false } }],
            {
              from: [before],
              to: 'CANCELLED',
              finishes: true,
            },
          ),
    );
  });
}

/** src/domain/resume-run.ts. */
function* resumeRun(world: World, process: Process, session: Session): Life<void> {
  const { db } = world;
  yield* inTransaction(
    world,
    session,
    () => statements.lockPartitions(db, session, 'update'),
    function* () {
      const before = yield* sql(session, () => {
        requireAllowed(world, 'RESUME');
        // As planResume(): refused when the checkpoints of a partition let nobody go on.
        for (const { no, status } of db.partitions.values()) {
          if (status !== 'COMPLETED') statements.loadCheckpoint(db, clockOf(world, process), no);
        }
        return db.run.status;
      });
      yield* sql(session, () => statements.reopenPartitions(db, session, world.now));
      yield* sql(session, () =>
        statements.appendEvents(db, session, clockOf(world, process), [{ name: 'RunResumed', data: {} }], {
          from: [before],
          to: 'PENDING',
          resumes: true,
        }),
      );
    },
  );
}

export interface Subscriber {
  received: EventRow[];
}

const pollMs = 1_000;
const hintLoss = 0.15;

/** src/events/follow.ts with a client that loses its connection now and then and comes back with its cursor. */
export function subscribe(world: World, process: Process): Subscriber {
  const received: EventRow[] = [];
  let hinted = false;
  const actor = start(world, process, follow());
  world.hint = () => {
    if (world.random.chance(hintLoss)) return;
    hinted = true;
    actor.wakeAt = Math.min(actor.wakeAt, world.now);
  };
  return { received };

  function* follow(): Life<void> {
    for (;;) {
      hinted = false;
      try {
        const last = received.at(-1)?.seq ?? 0;
        const page = yield* pooled(() => world.db.events.filter(({ seq }) => seq > last));
        received.push(...page);
      } catch {
        yield* sleep(100);
        continue;
      }
      if (!hinted) yield* sleep(world.bug === 'a subscriber waits for NOTIFY only' ? Infinity : pollMs);
    }
  }
}
