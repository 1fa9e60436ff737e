import { readOwnAgency } from '../db/agencies-read.ts';
import { notifyAllThrough, oneByOne, type SendHints } from '../db/notify.ts';
import type { Connection, Pool } from '../db/pool.ts';
import type { RunKey } from '../db/run-events-append.ts';
import { findRun, type Run } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import { type Announcer, createAnnouncer } from '../events/announce.ts';
import { unknownRun } from '../events/read-after.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';

/** What every request to change a run says. */
export interface ControlRun extends Asked {
  runId: string;
}

/** @throws INVALID_INPUT there is no reason */
export function requireReason({ reason }: Asked, verb: string, what = 'a run'): void {
  if (reason !== null && reason.trim() !== '') return;
  throw new FluxError(
    'INVALID_INPUT',
    `A reason is needed to ${verb} ${what}, and it is empty. Say why, for the audit log.`,
    {
      details: { issues: [{ path: '/reason', rule: 'required', message: 'expected a reason' }] },
    },
  );
}

/** @throws NOT_FOUND unknown, another agency's and above the clearance read alike */
export async function requireRun(tx: Connection, runId: string): Promise<Run> {
  const run = await findRun(tx, runId);
  if (!run) throw unknownRun(runId);
  return run;
}

export function keyOf({ agency, id }: Run): RunKey {
  return { agencyId: agency, runId: id };
}

/** What the audit log keeps of a run before and after it was controlled. */
export function auditState({ status, attempt, version }: Run): Record<string, unknown> {
  return { status, attempt, version: String(version) };
}

const announcers = new WeakMap<Pool, Announcer>();

/**
 * Tells workers and followers soon after the commit: what is changed within some 30 ms is sent together, because each NOTIFY
 * takes a lock of the whole database and flushes the log. A lost hint costs time only: workers and followers poll.
 */
export function wakeWorkers({ pool, logger, sendHint }: DomainDeps, runId: string): void {
  let announcer = announcers.get(pool);
  if (!announcer) {
    const send: SendHints = sendHint ? oneByOne(sendHint) : notifyAllThrough(pool);
    announcer = createAnnouncer(send, (err) =>
      logger.warn({ err }, 'no hint could be sent; the workers find the run by their poll'),
    );
    announcers.set(pool, announcer);
  }
  announcer.run(runId);
  announcer.work();
}

export async function requireEnabledAgency(tx: Connection, { principal }: Caller): Promise<void> {
  const agency = await readOwnAgency(tx);
  if (agency?.enabled) return;
  throw new FluxError(
    'INVALID_INPUT',
    `The agency ${principal.agency} is not enabled, so it starts no runs. The platform's operator can enable it (flux agencies update).`,
  );
}
