import { appendAudit } from '../audit/append.ts';
import type { Connection } from '../db/pool.ts';
import * as schedules from '../db/schedules.ts';
import type { NewTick, Schedule } from '../db/schedules.ts';
import { FluxError } from '../errors.ts';
import type { DomainDeps } from './caller.ts';
import { cronClock, localDate } from './cron.ts';
import { startDatedRun } from './start-dated-run.ts';

/** Later than this a tick was missed, and the catch-up policy decides. */
const lateMs = 60_000;
/** Ticks that are looked at one by one; what was missed before them is one row. */
const ticksMax = 500;
/** Ticks that may wait for their turn. */
const waitingMax = 100;

/**
 * Decides the due ticks of a schedule, as its agency, in the caller's transaction. The schedule's row is held meanwhile and the
 * tick is its own key, so that each tick is decided once, however many workers look and whenever one dies.
 *
 * @returns ids of the runs that were started
 */
export async function fireSchedule(
  deps: Pick<DomainDeps, 'keys'>,
  tx: Connection,
  { agencyId, id }: { agencyId: string; id: string },
): Promise<string[]> {
  const schedule = await schedules.takeSchedule(tx, id);
  if (!schedule?.nextTickAt) return [];
  const started: string[] = [];
  const firing = { deps, tx, agencyId, schedule, started };
  await startWaiting(firing);
  const now = await schedules.readClock(tx);
  if (schedule.nextTickAt <= now) {
    const clock = cronClock(schedule.cron, schedule.timeZone);
    const due = clock.between(schedule.nextTickAt, now, ticksMax);
    for (const tick of chosen(schedule, due, now)) await decide(firing, tick);
    await schedules.setNextTick(tx, schedule.id, clock.after(now));
  }
  return started;
}

interface Firing {
  deps: Pick<DomainDeps, 'keys'>;
  tx: Connection;
  agencyId: string;
  schedule: Schedule;
  started: string[];
}

type Choice = Pick<NewTick, 'tickAt' | 'caughtUp' | 'standsFor'> & { skip: string | null };

/** What the catch-up policy makes of the ticks that are due, oldest first. Those that are on time are none of its affair. */
export function chosen(
  { catchUp, catchUpLimit }: Pick<Schedule, 'catchUp' | 'catchUpLimit'>,
  { ticks, complete }: { ticks: readonly Date[]; complete: boolean },
  now: Date,
): Choice[] {
  const missed = ticks.filter((tick) => now.getTime() - tick.getTime() > lateMs);
  const kept = { NONE: 0, LATEST: 1, ALL: catchUpLimit }[catchUp];
  const caught = kept === 0 ? [] : missed.slice(-kept);
  const skipped = missed.slice(0, missed.length - caught.length);
  const last = skipped.at(-1);
  const choices: Choice[] = last
    ? [
        {
          tickAt: last,
          caughtUp: true,
          standsFor: skipped.length,
          skip: complete ? skipReason(catchUp) : `${skipReason(catchUp)}_MANY`,
        },
      ]
    : [];
  choices.push(...caught.map((tickAt) => ({ tickAt, caughtUp: true, standsFor: 1, skip: null })));
  choices.push(...ticks.slice(missed.length).map((tickAt) => ({ tickAt, caughtUp: false, standsFor: 1, skip: null })));
  return choices;
}

function skipReason(catchUp: Schedule['catchUp']): string {
  return catchUp === 'NONE' ? 'MISSED' : 'CATCH_UP_LIMIT';
}

async function decide(firing: Firing, { skip, ...tick }: Choice): Promise<void> {
  const { tx, schedule } = firing;
  if (skip !== null) return schedules.insertTick(tx, schedule.id, { ...tick, status: 'SKIPPED', reason: skip });
  if (schedule.overlap === 'ALLOW') return start(firing, tick, (row) => schedules.insertTick(tx, schedule.id, row));
  const { running, waiting } = await schedules.readOverlap(tx, schedule.id);
  if (!running && waiting === 0) return start(firing, tick, (row) => schedules.insertTick(tx, schedule.id, row));
  // A missed tick that is to be made up for is never dropped because the one before it still runs.
  const reason =
    schedule.overlap === 'SKIP' && !tick.caughtUp ? 'STILL_RUNNING' : waiting >= waitingMax ? 'QUEUE_FULL' : null;
  await schedules.insertTick(
    tx,
    schedule.id,
    reason ? { ...tick, status: 'SKIPPED', reason } : { ...tick, status: 'WAITING' },
  );
}

/** The oldest tick that waits, when no run of the schedule is under way. */
async function startWaiting(firing: Firing): Promise<void> {
  const { tx, schedule } = firing;
  const { running, oldest, oldestCaughtUp } = await schedules.readOverlap(tx, schedule.id);
  if (running || !oldest) return;
  await start(firing, { tickAt: oldest, caughtUp: oldestCaughtUp }, (row) =>
    schedules.decideTick(tx, schedule.id, row),
  );
}

async function start(
  { deps, tx, agencyId, schedule, started }: Firing,
  tick: Pick<NewTick, 'tickAt' | 'caughtUp' | 'standsFor'>,
  record: (row: NewTick) => Promise<void>,
): Promise<void> {
  const at = tick.tickAt.toISOString();
  const actor = `schedule:${schedule.name}`;
  try {
    const runId = await startDatedRun(deps, tx, {
      agencyId,
      actor,
      reason: `Tick ${at} of the schedule ${schedule.name}${tick.caughtUp ? ', made up for' : ''}.`,
      pipelineName: schedule.pipelineName,
      classification: schedule.classification,
      priority: schedule.priority,
      source: schedule.source,
      metadata: { ...schedule.metadata, schedule: schedule.name, tick: at },
      date: localDate(tick.tickAt, schedule.timeZone),
      idempotencyKey: `schedule/${schedule.id}/${at}`,
    });
    started.push(runId);
    await record({ ...tick, status: 'STARTED', runId });
  } catch (cause) {
    // A refusal is this tick's end; what passes by itself, or is not known, leaves the tick to be decided again.
    if (!(cause instanceof FluxError) || cause.retryable || cause.code === 'INTERNAL') throw cause;
    await record({ ...tick, status: 'FAILED', reason: cause.code, message: cause.message });
    await appendAudit(tx, {
      actor,
      role: 'scheduler',
      action: 'run.start',
      resourceType: 'schedule',
      resourceId: schedule.name,
      success: false,
      errorCode: cause.code,
      after: { tick: at, message: cause.message },
    });
  }
}
