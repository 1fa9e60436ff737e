import { readEventsBefore, readNamedEvents, type RunEvent } from '../src/db/run-events.ts';
import type { Run } from '../src/db/runs.ts';
import type { EventName } from '../src/domain/run.ts';
import { decodeEventCursor, encodeEventCursor } from '../src/events/cursor.ts';
import { checkFollow, follow, type RunEventItem } from '../src/events/follow.ts';
import { readAfter, unknownRun } from '../src/events/read-after.ts';
import { type Context, read, viewerOf } from './context.ts';
import { type Page, type PageArgs, pageFrom, pageWindow } from './cursor.ts';
import { runIdOf } from './ids.ts';
import { type Streamed, withFailureInBatches } from './stream.ts';

export type { RunEventItem } from '../src/events/follow.ts';
export { itemOf } from './stream.ts';

export interface RunEventsArgs {
  runId: string;
  after?: string | null | undefined;
}

/** @throws NOT_FOUND, CURSOR_EXPIRED, INVALID_INPUT before anything is streamed */
export async function runEvents(
  ctx: Context,
  args: RunEventsArgs,
): Promise<AsyncIterableIterator<Streamed<RunEventItem>>> {
  const { runId, afterSeq } = placeOf(ctx, args);
  const request = {
    sealed: () => ctx.sealed(),
    runId,
    afterSeq,
    signal: ctx.signal,
    viewer: viewerOf(ctx),
  };
  await checkFollow(ctx.api, request);
  return withFailureInBatches(follow(ctx.api, request));
}

export interface RunEventLogArgs extends RunEventsArgs, PageArgs {
  after?: string | null | undefined;
  /** Only events of these; of all if absent. */
  names?: readonly EventName[] | null | undefined;
}

/** @throws NOT_FOUND, CURSOR_EXPIRED, INVALID_INPUT, LIMIT_EXCEEDED */
export function runEventLog(ctx: Context, args: RunEventLogArgs): Promise<Page<RunEvent>> {
  const window = pageWindow(args);
  const { runId, afterSeq } = placeOf(ctx, { runId: args.runId, after: window.cursor });
  const limit = window.limit + 1;
  const { names } = args;
  return read(ctx, async (tx) => {
    const place = window.cursor === undefined ? null : afterSeq;
    const { backward } = window;
    const events = names
      ? await readNamedEvents(tx, {
          ...{ runId, names, backward, limit },
          afterSeq: backward ? null : place,
          beforeSeq: backward ? place : null,
        })
      : backward
        ? await readEventsBefore(tx, { runId, beforeSeq: place, limit })
        : (await readAfter(tx, { runId, afterSeq, limit })).events;
    if (!events) throw unknownRun(runId);
    return pageFrom(events, window, (event) => cursorOf(ctx, event));
  });
}

export function eventsOf(ctx: Context, run: Run, page: PageArgs): Promise<Page<RunEvent>> {
  return runEventLog(ctx, { ...page, runId: run.id });
}

/** Where a client goes on after this item, in `runEvents` and `runEventLog` alike. */
export function cursorOf(ctx: Context, item: RunEventItem): string {
  const seq = 'kind' in item ? (item.kind === 'gap' ? item.toSeq : item.lastSeq) : item.seq;
  return encodeEventCursor(ctx.api.cursorKey, { agency: ctx.principal.agency, runId: item.runId, seq });
}

function placeOf(ctx: Context, { runId: id, after }: RunEventsArgs): { runId: string; afterSeq: bigint } {
  const runId = runIdOf(id);
  if (runId === null) throw unknownRun(id);
  const of = { agency: ctx.principal.agency, runId };
  return {
    runId,
    afterSeq: after === null || after === undefined ? 0n : decodeEventCursor(ctx.api.cursorKey, of, after),
  };
}

/** The GraphQL type of an item: each event's type is called as the event. */
export function typeNameOf(item: RunEventItem): string {
  if (!('kind' in item)) return item.name;
  return item.kind === 'gap' ? 'StreamGap' : 'StreamEnd';
}
