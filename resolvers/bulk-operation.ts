import {
  type BulkAction,
  type BulkItem,
  type BulkItemStatus,
  type BulkOperation,
  findBulkOperation,
  listBulkItems,
  listBulkOperations,
} from '../src/db/bulk-operations.ts';
import { findRun, type Run } from '../src/db/runs.ts';
import { abortBulk, startBulk, unknownOperation } from '../src/domain/bulk-runs.ts';
import { type Context, read, recordMutationRefusal } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { bulkOperationIdOf } from './ids.ts';
import { type RunFilterArgs, toFilter } from './run.ts';

export type { BulkAction, BulkItem, BulkItemStatus, BulkOperation, BulkStatus } from '../src/db/bulk-operations.ts';

export async function bulkOperation(ctx: Context, id: string): Promise<BulkOperation | null> {
  const known = bulkOperationIdOf(id);
  return known === null ? null : read(ctx, (tx) => findBulkOperation(tx, known));
}

export function bulkOperations(ctx: Context, args: PageArgs): Promise<Page<BulkOperation>> {
  return pageOf(ctx, 'bulkOperations', args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) => listBulkOperations(tx, { after: position?.[0] ?? null, limit, backward })),
    positionOf: ({ id }) => [id],
  });
}

export interface ItemsArgs extends PageArgs {
  status?: BulkItemStatus | null | undefined;
}

export function itemsOf(
  ctx: Context,
  { id }: BulkOperation,
  { status = null, ...page }: ItemsArgs,
): Promise<Page<BulkItem>> {
  return pageOf(ctx, `bulkItems:${id}:${status ?? ''}`, page, {
    read: (position, limit, backward) =>
      read(ctx, (tx) =>
        listBulkItems(tx, id, { status, after: position ? Number(position[0]) : null, limit, backward }),
      ),
    positionOf: ({ position }) => [String(position)],
  });
}

export function runOfItem(ctx: Context, { runId }: BulkItem): Promise<Run | null> {
  return read(ctx, (tx) => findRun(tx, runId));
}

export interface BulkRunsArgs {
  filter: RunFilterArgs;
  graceSeconds?: number | null | undefined;
  reason: string;
  idempotencyKey?: string | null | undefined;
}

export function bulkRuns(
  ctx: Context,
  action: BulkAction,
  { filter, graceSeconds = null, reason, idempotencyKey = null }: BulkRunsArgs,
): Promise<BulkOperation> {
  return startBulk(ctx.api, ctx, { action, filter: toFilter(filter), graceSeconds, reason, idempotencyKey });
}

export interface AbortArgs {
  id: string;
  reason: string;
  idempotencyKey?: string | null | undefined;
}

export async function abortBulkOperation(
  ctx: Context,
  { id, reason, idempotencyKey = null }: AbortArgs,
): Promise<BulkOperation> {
  const operationId = bulkOperationIdOf(id);
  if (operationId === null) {
    const error = unknownOperation(id);
    await recordMutationRefusal(ctx, 'abortBulkOperation', reason, error);
    throw error;
  }
  return abortBulk(ctx.api, ctx, { operationId, reason, idempotencyKey });
}
