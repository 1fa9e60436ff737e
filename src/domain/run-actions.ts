import type { Run } from '../db/runs.ts';

/** What people may ask of a run that there is. */
export const runActions = ['CANCEL', 'RESUME', 'RERUN', 'FORK', 'REPROCESS'] as const;
export type RunAction = (typeof runActions)[number];

/** Whether it may be cancelled or resumed follows from its state alone. */
type ActedOn = Pick<Run, 'id' | 'status'> & Partial<Pick<Run, 'stage' | 'payload' | 'reprocessOf'>>;

/**
 * Why a run's state does not allow an action; null when it does. A cancel that is under way, or done, may be asked for again:
 * it changes nothing.
 */
export function forbids(run: ActedOn, action: RunAction): string | null {
  switch (action) {
    case 'CANCEL':
      return forbidsCancel(run);
    case 'RESUME':
      return forbidsResume(run);
    case 'RERUN':
      return run.reprocessOf ? forbidsOfReprocessing(run, 'rerun') : null;
    case 'FORK':
      return forbidsFork(run);
    case 'REPROCESS':
      return null; // src/domain/reprocess-rejected.ts, which looks at more than the state
  }
}

function forbidsFork(run: ActedOn): string | null {
  if (run.reprocessOf) return forbidsOfReprocessing(run, 'forked');
  if (run.payload?.['dry_run'] === true) return `Run ${run.id} is a dry run and has no checkpoints.`;
  if (run.stage === undefined || run.stage === 'FULL') return null;
  return `Run ${run.id} does the stage ${run.stage} alone, which is begun anew rather than forked. Rerun it, or start the stage again.`;
}

function forbidsOfReprocessing({ id, reprocessOf }: ActedOn, verb: string): string {
  return `Run ${id} reprocesses rejected records of run ${String(reprocessOf)} and cannot be ${verb}: each of them lands once. Resume it, or reprocess those of run ${String(reprocessOf)} again.`;
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
