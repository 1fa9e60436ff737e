import { decodeCursor, encodeCursor } from '../src/events/cursor.ts';
import { followRunChanges, readRunChanges, type RunChange } from '../src/domain/follow-run-changes.ts';
import { type Context, viewerOf } from './context.ts';
import { type Page, pageSize } from './cursor.ts';
import { type RunFilterArgs, toFilter } from './run.ts';
import { type Streamed, withFailureInBatches } from './stream.ts';

export type { RunChange } from '../src/domain/follow-run-changes.ts';
export { itemOf } from './stream.ts';

const kind = 'run-changes';

export interface RunsChangedArgs {
  filter?: RunFilterArgs | null | undefined;
  after?: string | null | undefined;
}

/** @throws INVALID_INPUT before anything is streamed */
export function runsChanged(
  ctx: Context,
  { filter, after }: RunsChangedArgs,
): AsyncIterableIterator<Streamed<RunChange>> {
  return withFailureInBatches(
    followRunChanges(ctx.api, {
      sealed: () => ctx.sealed(),
      filter: toFilter(filter ?? {}),
      afterSeq: placeOf(ctx, after),
      signal: ctx.signal,
      viewer: viewerOf(ctx),
    }),
  );
}

/**
 * A page of the feed. Its end cursor is always there: without `after` it is all that the page says.
 *
 * @throws INVALID_INPUT, LIMIT_EXCEEDED
 */
export async function runChanges(
  ctx: Context,
  { filter, after, first }: RunsChangedArgs & { first?: number | null | undefined },
): Promise<Page<RunChange>> {
  const afterSeq = placeOf(ctx, after);
  const { items, end, more } = await readRunChanges(ctx.api, {
    sealed: () => ctx.sealed(),
    filter: toFilter(filter ?? {}),
    afterSeq,
    limit: pageSize(first),
    signal: ctx.signal,
  });
  const edges = items.map((node) => ({ node, cursor: cursorOf(ctx, node) }));
  return {
    edges,
    pageInfo: {
      hasNextPage: more,
      hasPreviousPage: afterSeq !== null,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: cursorOf(ctx, { seq: end }),
    },
  };
}

/** Where the feed goes on after this place. */
export function cursorOf(ctx: Context, { seq }: Pick<RunChange, 'seq'>): string {
  return encodeCursor(ctx.api.cursorKey, { kind, agency: ctx.principal.agency }, [String(seq)]);
}

/** @returns null where no cursor is given @throws INVALID_INPUT */
function placeOf(ctx: Context, after: string | null | undefined): bigint | null {
  if (after === null || after === undefined) return null;
  return BigInt(decodeCursor(ctx.api.cursorKey, { kind, agency: ctx.principal.agency }, after)[0] ?? 0);
}
