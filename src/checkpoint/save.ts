import { saveCheckpoint } from '../db/checkpoints.ts';
import type { Queryable } from '../db/pool.ts';
import type { Claim } from '../db/queue.ts';
import { type Definitions, encodeCheckpoint } from './body.ts';
import type { Position } from './position.ts';

export interface SavedCheckpoint {
  checkpointId: string;
  hash: Buffer;
  byteCount: number;
}

/**
 * Stores a position as the checkpoint of its batch, in the batch's transaction. Its key (run, partition, batch number) makes
 * the batch happen once.
 *
 * @param last the partition is done with it
 * @throws 23505 the batch has happened before
 * @throws FX001 (CHECKPOINT_CORRUPTED) it does not follow the checkpoint that is stored before it
 */
export async function savePosition(
  tx: Queryable,
  claim: Claim,
  position: Position,
  { definitions, last }: { definitions: Definitions; last: boolean },
): Promise<SavedCheckpoint> {
  const { body, hash } = encodeCheckpoint(claim, position, definitions);
  const status = last ? 'COMPLETED' : 'IN_PROGRESS';
  const checkpointId = await saveCheckpoint(tx, claim, {
    version: position.version,
    status,
    step: 'write',
    body,
    hash,
  });
  return { checkpointId, hash, byteCount: body.length };
}
