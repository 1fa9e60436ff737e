import { checkFollowProgress, followProgress } from '../src/domain/follow-progress.ts';
import type { RunProgress } from '../src/domain/progress.ts';
import { unknownRun } from '../src/events/read-after.ts';
import { type Context, viewerOf } from './context.ts';
import { runIdOf } from './ids.ts';
import { type Streamed, withFailureInBatches } from './stream.ts';

/** @throws NOT_FOUND, INVALID_INPUT before anything is streamed */
export async function runProgress(
  ctx: Context,
  args: { runId: string; maxPerSecond?: number | null | undefined },
): Promise<AsyncIterableIterator<Streamed<RunProgress>>> {
  const runId = runIdOf(args.runId);
  if (runId === null) throw unknownRun(args.runId);
  const request = {
    sealed: () => ctx.sealed(),
    runId,
    maxPerSecond: args.maxPerSecond ?? 4,
    signal: ctx.signal,
    viewer: viewerOf(ctx),
  };
  await checkFollowProgress(ctx.api, request);
  return withFailureInBatches(followProgress(ctx.api, request));
}
