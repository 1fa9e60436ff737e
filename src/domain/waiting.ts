import type { RunStandstill } from '../db/run-waiting.ts';
import { isFinalStatus } from './run.ts';

export const waitingCodes = [
  'QUEUED',
  'FAIR_SHARE',
  'AGENCY_CAP',
  'NO_WORKER',
  'DRAINING',
  'BACKING_OFF',
  'BEING_REASSIGNED',
  'CANCELLING',
  'AGENCY_DISABLED',
] as const;
export type WaitingCode = (typeof waitingCodes)[number];

/** Why a run does not move now. */
export interface WaitingReason {
  code: WaitingCode;
  message: string;
  /** From 1, in the agency's own queue; null when it is not in it. */
  queuePosition: number | null;
  /** When the wait ends by itself; null when nobody can say. */
  until: Date | null;
}

/** @returns null while some worker works on it, and when it is over. What stands in the way of all comes before what stands in its own. */
export function waitingReasonOf(run: RunStandstill): WaitingReason | null {
  if (isFinalStatus(run.status)) return null;
  if (run.status === 'CANCELLING') {
    const left = run.held + run.abandoned;
    return {
      code: 'CANCELLING',
      message: `${String(left)} of its partitions have not acknowledged the cancel yet.`,
      queuePosition: null,
      until: run.cancelDeadline,
    };
  }
  if (run.held > 0) return null;
  if (!run.agencyEnabled) {
    const message = 'The agency is not enabled, so no worker takes its runs. The platform’s operator can enable it.';
    return { code: 'AGENCY_DISABLED', message, queuePosition: null, until: null };
  }
  if (run.abandoned > 0 && run.workers > 0) {
    const message = 'A worker let its lease run out; the next one that is free takes over.';
    return { code: 'BEING_REASSIGNED', message, queuePosition: null, until: null };
  }
  if (run.abandoned > 0) return withoutWorkers(run);
  return run.nextAt === null ? null : queued(run, run.nextAt);
}

/** Nobody is there who could take it. */
function withoutWorkers({ draining, ahead }: RunStandstill): WaitingReason {
  const queuePosition = ahead === null ? null : ahead + 1;
  if (draining > 0) {
    const message = 'The workers are stopping and take nothing new; those that are started in their place go on.';
    return { code: 'DRAINING', message, queuePosition, until: null };
  }
  const message = 'No worker has been seen for ten seconds. The platform’s operator starts one: flux worker.';
  return { code: 'NO_WORKER', message, queuePosition, until: null };
}

function queued(run: RunStandstill, nextAt: Date): WaitingReason {
  const { readAt, executing, cap, agenciesFirst } = run;
  if (nextAt > readAt) {
    const seconds = ((nextAt.getTime() - readAt.getTime()) / 1_000).toFixed(1);
    const message = `A failure that may pass by itself; it is tried again in ${seconds} s.`;
    return { code: 'BACKING_OFF', message, queuePosition: null, until: nextAt };
  }
  if (run.workers === 0) return withoutWorkers(run);
  const ahead = run.ahead ?? 0;
  const place = { queuePosition: ahead + 1, until: null };
  if (cap !== null && executing >= cap) {
    const message = `The agency has as many partitions at work as its cap allows, ${String(cap)}; ${behind(ahead)}.`;
    return { code: 'AGENCY_CAP', message, ...place };
  }
  if (ahead > 0) return { code: 'QUEUED', message: `It is queued: ${behind(ahead)}.`, ...place };
  if (agenciesFirst > 0) {
    const message = `The turn is with ${count(agenciesFirst, 'other agency', 'other agencies')}; then this run comes next.`;
    return { code: 'FAIR_SHARE', message, ...place };
  }
  return { code: 'QUEUED', message: 'Next in the queue, for the first worker that is free.', ...place };
}

function behind(ahead: number): string {
  if (ahead === 0) return 'it is the first of the agency’s own queue';
  return `${count(ahead, 'partition', 'partitions')} of the agency’s other runs ${ahead === 1 ? 'comes' : 'come'} before it`;
}

function count(n: number, one: string, many: string): string {
  return `${String(n)} ${n === 1 ? one : many}`;
}
