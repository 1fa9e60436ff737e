import { FluxError } from '../src/errors.ts';
import { decodeCursor, encodeCursor } from '../src/events/cursor.ts';
import type { Context } from './context.ts';

export interface PageArgs {
  first?: number | null | undefined;
  after?: string | null | undefined;
}

/** A page as Relay's connections have it. */
export interface Page<T> {
  edges: { node: T; cursor: string }[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null };
}

const pageDefault = 50;
const pageLimit = 200;

/**
 * Reads a page of a list by keyset: one row more than asked tells whether more follow.
 *
 * @param kind names the list in its cursors; a cursor of another list does not fit
 * @throws INVALID_INPUT, LIMIT_EXCEEDED
 */
export async function pageOf<T>(
  ctx: Context,
  kind: string,
  { first, after }: PageArgs,
  list: {
    /** @param position of the last item before the page; null at the start */
    read(position: string[] | null, limit: number): Promise<T[]>;
    positionOf(item: T): string[];
  },
): Promise<Page<T>> {
  const scope = { kind, agency: ctx.principal.agency };
  const limit = pageSize(first);
  const position = after === null || after === undefined ? null : decodeCursor(ctx.api.cursorKey, scope, after);
  const rows = await list.read(position, limit + 1);
  const edges = rows
    .slice(0, limit)
    .map((node) => ({ node, cursor: encodeCursor(ctx.api.cursorKey, scope, list.positionOf(node)) }));
  return {
    edges,
    pageInfo: {
      hasNextPage: rows.length > limit,
      hasPreviousPage: position !== null,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

/** @throws INVALID_INPUT, LIMIT_EXCEEDED */
export function pageSize(first: number | null | undefined): number {
  const size = first ?? pageDefault;
  if (size < 1) throw new FluxError('INVALID_INPUT', `first is ${String(size)}; pass 1 to ${String(pageLimit)}.`);
  if (size > pageLimit)
    throw new FluxError(
      'LIMIT_EXCEEDED',
      `first is ${String(size)}; pass at most ${String(pageLimit)} and page on with after.`,
    );
  return size;
}
