import { decodeCursor, encodeCursor } from '../src/events/cursor.ts';
import { followRunChanges, type RunChange } from '../src/domain/follow-run-changes.ts';
import { type Context, viewerOf } from './context.ts';
import { type RunFilterArgs, toFilter } from './run.ts';
import { type Streamed, withFailureInBatches } from './stream.ts';

export type { RunChange } from '../src/domain/follow-run-changes.ts';
export { itemOf } from './stream.ts';

const kind = 'run-changes';

/** @throws INVALID_INPUT before anything is streamed */
export function runsChanged(
  ctx: Context,
  { filter, after }: { filter?: RunFilterArgs | null | undefined; after?: string | null | undefined },
): AsyncIterableIterator<Streamed<RunChange>> {
  const { agency } = ctx.principal;
  const afterSeq =
    after === null || after === undefined
      ? null
      : BigInt(decodeCursor(ctx.api.cursorKey, { kind, agency }, after)[0] ?? 0);
  return withFailureInBatches(
    followRunChanges(ctx.api, {
      sealed: () => ctx.sealed(),
      filter: toFilter(filter ?? {}),
      afterSeq,
      signal: ctx.signal,
      viewer: viewerOf(ctx),
    }),
  );
}

/** Where the feed goes on after this change. */
export function cursorOf(ctx: Context, { seq }: RunChange): string {
  return encodeCursor(ctx.api.cursorKey, { kind, agency: ctx.principal.agency }, [String(seq)]);
}
