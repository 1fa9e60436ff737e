import type { RunStatus } from '../db/run-vocabulary.ts';

export * from '../db/run-vocabulary.ts';
export type { Run, RunFilter } from '../db/runs.ts';

/**
 * The life of a run; flux.guard_run() holds the database to it. CANCELLING is not final: the holders still have to acknowledge.
 * A run that nobody holds is cancelled at once. FAILED and CANCELLED lead on only through resume, which begins the next attempt.
 *
 *   PENDING -> IN_PROGRESS -> COMPLETED
 *      |         |    | \---> FAILED -----> PENDING
 *      |         |    v
 *      |         |  CANCELLING
 *      |         v    v
 *      +------> CANCELLED ---------------> PENDING
 */
const nextStatuses: Record<RunStatus, readonly RunStatus[]> = {
  PENDING: ['IN_PROGRESS', 'CANCELLED', 'FAILED'],
  IN_PROGRESS: ['COMPLETED', 'FAILED', 'CANCELLING', 'CANCELLED'],
  CANCELLING: ['CANCELLED'],
  COMPLETED: [],
  FAILED: ['PENDING'],
  CANCELLED: ['PENDING'],
};

export function canBecome(from: RunStatus, to: RunStatus): boolean {
  return nextStatuses[from].includes(to);
}
