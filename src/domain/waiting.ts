import type { RunStandstill } from '../db/run-waiting.ts';
import { isFinalStatus } from './run.ts';

export const waitingCodes = ['QUEUED', 'BACKING_OFF', 'BEING_REASSIGNED', 'CANCELLING', 'AGENCY_DISABLED'] as const;
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

/** @returns null while some worker works on it, and when it is over */
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
  if (run.abandoned > 0) {
    const message = 'A worker let its lease run out; the next one that is free takes over.';
    return { code: 'BEING_REASSIGNED', message, queuePosition: null, until: null };
  }
  return run.nextAt === null ? null : queued(run, run.nextAt);
}

function queued({ ahead, readAt }: RunStandstill, nextAt: Date): WaitingReason {
  if (nextAt > readAt) {
    const seconds = ((nextAt.getTime() - readAt.getTime()) / 1_000).toFixed(1);
    const message = `A failure that may pass by itself; it is tried again in ${seconds} s.`;
    return { code: 'BACKING_OFF', message, queuePosition: null, until: nextAt };
  }
  const message =
    ahead === 0
      ? 'Next in the agency’s queue, for the first worker that is free.'
      : `${String(ahead)} partitions of the agency’s other runs come before it.`;
  return { code: 'QUEUED', message, queuePosition: ahead + 1, until: null };
}
