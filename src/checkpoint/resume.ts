import { loadCheckpoint } from '../db/checkpoints.ts';
import type { Queryable } from '../db/pool.ts';
import type { Claim } from '../db/queue.ts';
import { type Definitions, decodeCheckpoint } from './body.ts';
import { beginning, type Position } from './position.ts';

export interface Resumption {
  position: Position;
  /** The checkpoint that the position comes from; null at the beginning. */
  checkpointId: string | null;
  /** Newer versions that did not verify, newest first: what they stand for must be undone before the position is used. */
  corrupted: readonly number[];
}

/**
 * Where a partition goes on: after its newest checkpoint that verifies, or at the beginning when there never was one.
 *
 * @throws FX001 (CHECKPOINT_CORRUPTED) there are checkpoints, and none verifies
 * @throws CHECKPOINT_INCOMPATIBLE it was written under other definitions
 */
export async function findResumption(db: Queryable, claim: Claim, definitions: Definitions): Promise<Resumption> {
  const stored = await loadCheckpoint(db, claim);
  if (!stored) return { position: beginning, checkpointId: null, corrupted: [] };
  return {
    position: decodeCheckpoint(stored, definitions),
    checkpointId: stored.checkpointId,
    corrupted: stored.corrupted,
  };
}
