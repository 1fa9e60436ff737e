import type { Queryable } from '../db/pool.ts';
import { findEventFloor, readEventPage, type RunEvent, type RunPosition } from '../db/run-events.ts';
import { FluxError } from '../errors.ts';

/**
 * The first page of events after a position that a client names, for queries and at the start of a stream.
 *
 * @param afterSeq 0 begins at the oldest event that is left; a later position must still be followed by its next event
 * @throws NOT_FOUND no such run for this caller: unknown, another agency's and above the clearance read alike
 * @throws CURSOR_EXPIRED retention has removed events after the position
 */
export async function readAfter(
  tx: Queryable,
  { runId, afterSeq, limit }: { runId: string; afterSeq: bigint; limit: number },
): Promise<RunPosition & { events: RunEvent[] }> {
  const page = await readEventPage(tx, { runId, afterSeq, limit });
  // A position is signed for its run: one that is gone was there, and retention has taken it.
  if (!page) throw afterSeq > 0n ? cursorExpired(afterSeq, null) : unknownRun(runId);
  const next = page.events[0]?.seq;
  const removed = next === undefined ? page.lastSeq > afterSeq : next > afterSeq + 1n;
  if (afterSeq > 0n && removed) throw cursorExpired(afterSeq, await findEventFloor(tx, runId));
  return page;
}

/** One text for "not yours" and "does not exist". */
export function unknownRun(runId: string): FluxError {
  return new FluxError('NOT_FOUND', `There is no run ${runId}. List yours with \`runs\`.`, { details: { runId } });
}

/** @param floor the lowest sequence number that is left; null when none is */
function cursorExpired(afterSeq: bigint, floor: bigint | null): FluxError {
  const left = floor === null ? 'none is left' : `the oldest that is left is ${String(floor)}`;
  return new FluxError(
    'CURSOR_EXPIRED',
    `The cursor points after event ${String(afterSeq)}, but retention has removed later events (${left}). Begin again without a cursor.`,
    { details: { floor: floor === null ? null : String(floor) } },
  );
}
