import type { Connection } from '../db/pool.ts';
import { isLoadVisible, landClaimed, lockClaimed } from '../db/reprocessing.ts';
import { FluxError } from '../errors.ts';
import { takenOver } from './commit-batch.ts';
import type { Work } from './work.ts';

/**
 * Says of the rejected records that we found good that they have landed by us, in the transaction that shows them. The caller
 * holds the dataset's lock.
 *
 * @throws RUN_CONFLICT another run has taken them over
 * @throws DESTINATION_CONFLICT the first run's load is no part of the dataset any more
 */
export async function landReprocessed(
  tx: Connection,
  { claim, definition }: Work,
  firstRun: string,
  { read, rejected }: { read: number; rejected: number },
): Promise<void> {
  if (!(await isLoadVisible(tx, { agencyId: claim.agencyId, runId: firstRun }))) {
    throw new FluxError(
      'DESTINATION_CONFLICT',
      `The load of run ${firstRun} was replaced in dataset ${definition.destination.dataset} meanwhile, so its rejected records do not ` +
        'belong there any more. Nothing was published. Reprocess those of the run that replaced it.',
      { details: { runId: firstRun } },
    );
  }
  const { held } = await lockClaimed(tx, claim, firstRun);
  const landed = await landClaimed(tx, claim, firstRun);
  if (held !== read || landed !== read - rejected) throw takenOver(firstRun);
}
