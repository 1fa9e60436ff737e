import type { Run } from '../db/runs.ts';

/** What people may ask of a run that there is. */
export const runActions = ['CANCEL', 'RESUME', 'RERUN', 'FORK'] as const;
export type RunAction = (typeof runActions)[number];

/**
 * Why a run's state does not allow an action; null when it does. A cancel that is under way, or done, may be asked for again:
 * it changes nothing.
 */
export function forbids(run: Pick<Run, 'id' | 'status'>, action: RunAction): string | null {
  switch (action) {
    case 'CANCEL':
      return forbidsCancel(run);
    case 'RESUME':
      return forbidsResume(run);
    case 'RERUN':
    case 'FORK':
      return null;
  }
}

function forbidsCancel({ id, status }: Pick<Run, 'id' | 'status'>): string | null {
  if (status === 'COMPLETED') {
    return `Run ${id} has completed and its load is visible; there is nothing left to cancel.`;
  }
  if (status === 'FAILED') return `Run ${id} has failed and does not go on; there is nothing left to cancel.`;
  return null;
}

function forbidsResume({ id, status }: Pick<Run, 'id' | 'status'>): string | null {
  switch (status) {
    case 'FAILED':
    case 'CANCELLED':
      return null;
    case 'COMPLETED':
      return `Run ${id} has completed, so nothing of it is left to do. To do all of it again, rerun it.`;
    case 'CANCELLING':
      return `Run ${id} is stopping. Resume it when it is CANCELLED, at the latest at its cancel deadline.`;
    case 'PENDING':
    case 'IN_PROGRESS':
      return `Run ${id} is ${status} and goes on by itself; only a run that FAILED or was CANCELLED can be resumed.`;
  }
}
