import type { RunStatus } from '../db/run-vocabulary.ts';

export * from '../db/run-vocabulary.ts';
export type { Run, RunFilter } from '../db/runs.ts';

/**
 * The life of a run. CANCELLING is not final: a worker still has to acknowledge. FAILED and CANCELLED lead on only through
 * resume, which begins the next attempt.
 *
 *   PENDING -> IN_PROGRESS -> COMPLETED
 *      |           | \-----> FAILED
 *      |           v            |
 *      +----> CANCELLING -> CANCELLED
 */
const nextStatuses: Record<RunStatus, readonly RunStatus[]> = {
  PENDING: ['IN_PROGRESS', 'CANCELLING', 'FAILED'],
  IN_PROGRESS: ['COMPLETED', 'FAILED', 'CANCELLING'],
  CANCELLING: ['CANCELLED', 'FAILED'],
  COMPLETED: [],
  FAILED: ['PENDING'],
  CANCELLED: ['PENDING'],
};

export function canBecome(from: RunStatus, to: RunStatus): boolean {
  return nextStatuses[from].includes(to);
}
