import { FluxError } from '../src/errors.ts';
import { decodeCursor, encodeCursor } from '../src/events/cursor.ts';
import type { Context } from './context.ts';

export interface PageArgs {
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
}

/** Which part of a list is asked for: so many after a cursor, or so many before one. */
export interface PageWindow {
  limit: number;
  backward: boolean;
  /** Exclusive; undefined begins at the list's start, or backward at its end. */
  cursor: string | undefined;
}

/** A page as Relay's connections have it. */
export interface Page<T> {
  edges: { node: T; cursor: string }[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null };
}

const pageDefault = 50;
const pageLimit = 200;

/**
 * Reads a page of a list by keyset: one row more than asked tells whether more follow. Inserts move nothing, because a place is an
 * item's own key and no offset.
 *
 * @param kind names the list in its cursors; a cursor of another list does not fit
 * @throws INVALID_INPUT, LIMIT_EXCEEDED
 */
export async function pageOf<T>(
  ctx: Context,
  kind: string,
  args: PageArgs,
  list: {
    /**
     * @param position of the item next to the page; null at the list's start, or backward at its end
     * @param backward read against the list's order, nearest first
     */
    read(position: string[] | null, limit: number, backward: boolean): Promise<T[]>;
    positionOf(item: T): string[];
  },
): Promise<Page<T>> {
  const scope = { kind, agency: ctx.principal.agency };
  const { limit, backward, cursor } = pageWindow(args);
  const position = cursor === undefined ? null : decodeCursor(ctx.api.cursorKey, scope, cursor);
  const rows = await list.read(position, limit + 1, backward);
  const cursorOf = (node: T): string => encodeCursor(ctx.api.cursorKey, scope, list.positionOf(node));
  return pageFrom(rows, { limit, backward, cursor }, cursorOf);
}

/** @param rows as they were read, one more than the window's limit where there are more */
export function pageFrom<T>(rows: readonly T[], window: PageWindow, cursorOf: (node: T) => string): Page<T> {
  const { limit, backward, cursor } = window;
  const shown = rows.slice(0, limit);
  if (backward) shown.reverse();
  const edges = shown.map((node) => ({ node, cursor: cursorOf(node) }));
  const [beyond, behind] = [rows.length > limit, cursor !== undefined];
  return {
    edges,
    pageInfo: {
      hasNextPage: backward ? behind : beyond,
      hasPreviousPage: backward ? beyond : behind,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

/** @throws INVALID_INPUT both directions at once; LIMIT_EXCEEDED */
export function pageWindow({ first, after, last, before }: PageArgs): PageWindow {
  const backward = isGiven(last) || isGiven(before);
  if (backward && (isGiven(first) || isGiven(after))) {
    throw new FluxError('INVALID_INPUT', 'A page goes one way: pass `first` with `after`, or `last` with `before`.');
  }
  const cursor = (backward ? before : after) ?? undefined;
  return { limit: pageSize(backward ? last : first, backward ? 'last' : 'first'), backward, cursor };
}

function isGiven(value: unknown): boolean {
  return value !== null && value !== undefined;
}

/** @throws INVALID_INPUT, LIMIT_EXCEEDED */
export function pageSize(asked: number | null | undefined, name = 'first'): number {
  const size = asked ?? pageDefault;
  if (size < 1) throw new FluxError('INVALID_INPUT', `${name} is ${String(size)}; pass 1 to ${String(pageLimit)}.`);
  if (size > pageLimit)
    throw new FluxError('LIMIT_EXCEEDED', `${name} is ${String(size)}; pass at most ${String(pageLimit)} and page on.`);
  return size;
}
