import { type DueWork, findDueWork } from '../db/due-work.ts';
import type { Pool } from '../db/pool.ts';
import { inTransaction } from '../db/transaction.ts';
import { advanceBackfill } from '../domain/advance-backfill.ts';
import { fireSchedule } from '../domain/fire-schedule.ts';
import { inSpan } from '../telemetry/tracing.ts';
import { withAgencySession } from './holder.ts';
import type { WorkerDeps } from './work.ts';

/** How late a tick is at most on an idle system. */
const lookMs = 1_000;
/** Of one look; what is left is due at the next. */
const dueMax = 50;

/**
 * Looks every second for schedules and backfills that are due, of any agency, and starts their runs, each in a session and a
 * transaction of its agency. Every worker runs one, beside its partitions: of several that look at the same thing one takes it,
 * and if that one dies its transaction is undone and the next look does it.
 */
export interface Scheduler {
  /** Resolves when nothing is under way. */
  stop(): Promise<void>;
}

export function startScheduler(deps: WorkerDeps): Scheduler {
  let stopped = false;
  let looking: Promise<void> = Promise.resolve();
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    looking = lookOnce(deps, () => stopped).finally(() => (busy = false));
  }, lookMs);
  return {
    async stop() {
      stopped = true;
      clearInterval(timer);
      await looking;
    },
  };
}

/** One look. Never throws. @returns once all that was due has been tried */
export async function lookOnce(deps: WorkerDeps, stopped: () => boolean = () => false): Promise<void> {
  const due = await findDue(deps);
  for (const work of due) {
    if (stopped()) return;
    try {
      const started = await inSpan(`${work.kind.toLowerCase()}.due`, { parent: null }, () =>
        withAgencySession(deps, work, (session) =>
          inTransaction(session, (tx) => (work.kind === 'SCHEDULE' ? fireSchedule : advanceBackfill)(deps, tx, work)),
        ),
      );
      for (const runId of started) deps.announcer.run(runId);
      if (started.length > 0) deps.announcer.work();
    } catch (err) {
      // One schedule that cannot be decided now must not keep the others from it; the next look tries again.
      deps.log.warn({ err, kind: work.kind, id: work.id }, 'what is due could not be started');
    }
  }
}

async function findDue({ pool, log }: Pick<WorkerDeps, 'log'> & { pool: Pool }): Promise<DueWork[]> {
  try {
    return await findDueWork(pool, dueMax);
  } catch (err) {
    log.warn({ err }, 'nothing that is due can be looked up now');
    return [];
  }
}
