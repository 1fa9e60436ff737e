import { readOwnAgency } from '../db/agencies-read.ts';
import { readForkedPlan } from '../db/forks.ts';
import { findPipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import type { Run } from '../db/runs.ts';
import { isFluxError } from '../errors.ts';
import { hasForkableRecords } from './fork-run.ts';
import { requireReprocessable } from './reprocess-rejected.ts';
import { planResume } from './resume-plan.ts';
import { forbids, type RunAction } from './run-actions.ts';

/** Whether somebody may do something now, and if not, why. */
export interface Permission {
  allowed: boolean;
  /** Null exactly when it is allowed. */
  reason: string | null;
}

/**
 * Asks, without doing it, whether an action on a run would be taken. What it needs may change before it is asked for in earnest.
 *
 * @param mayWrite whether the caller's role holds `run:write`
 */
export async function permissionFor(
  tx: Connection,
  run: Run,
  action: RunAction,
  { mayWrite }: { mayWrite: boolean },
): Promise<Permission> {
  const reason = mayWrite ? await forbidding(tx, run, action) : 'Your role does not hold run:write.';
  return { allowed: reason === null, reason };
}

async function forbidding(tx: Connection, run: Run, action: RunAction): Promise<string | null> {
  const byState = forbids(run, action);
  if (byState !== null || action === 'CANCEL') return byState;
  const agency = await readOwnAgency(tx);
  if (!agency?.enabled) return 'The agency is not enabled, so it starts no runs.';
  if (action === 'REPROCESS') return reprocessingForbidden(tx, run);
  if (action === 'RESUME') return (await planResume(tx, run)).forbiddenBy?.message ?? null;
  const pipeline = await findPipeline(tx, run.pipelineName, null);
  if (!pipeline?.enabled) return `The pipeline ${run.pipelineName} is not enabled any more.`;
  if (action === 'FORK' && !hasForkableRecords(await readForkedPlan(tx, run.id))) {
    return 'It has no checkpoints yet, or the records before them were merged into the dataset or replaced since.';
  }
  return null;
}

async function reprocessingForbidden(tx: Connection, run: Run): Promise<string | null> {
  try {
    await requireReprocessable(tx, run);
    return null;
  } catch (cause) {
    if (isFluxError(cause) && cause.class === 'VALIDATION') return cause.message;
    throw cause;
  }
}
