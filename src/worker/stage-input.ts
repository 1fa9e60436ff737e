import { listParts, readStagedColumns } from '../db/run-parts.ts';
import { FluxError } from '../errors.ts';
import type { StagedInput } from '../etl/engine-types.ts';
import type { Work } from './work.ts';

/** Whether a run leaves typed parts behind, in place of a load. */
export function writesParts({ run }: Pick<Work, 'run'>): boolean {
  return run.stage === 'INGEST' || run.stage === 'TRANSFORM';
}

/**
 * What a stage reads in place of a source; null when it reads a source.
 *
 * @param parts whether the parts themselves are needed: a range names its own
 */
export async function stagedInputOf(
  { holder, claim, run }: Work,
  { parts }: { parts: boolean },
): Promise<StagedInput | null> {
  if (run.inputRun === null) return null;
  const earlier = { agencyId: claim.agencyId, runId: run.inputRun };
  const columns = await readStagedColumns(holder, earlier);
  if (!columns) throw new FluxError('INTERNAL', `Run ${run.inputRun} has left no parts behind.`);
  return { columns, parts: parts ? await listParts(holder, earlier) : [] };
}
