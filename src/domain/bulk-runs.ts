import {
  type BulkAction,
  type BulkOperation,
  endBulkOperation,
  findBulkOperation,
  insertBulkOperation,
} from '../db/bulk-operations.ts';
import type { Connection } from '../db/pool.ts';
import type { RunFilter } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import { graceSeconds as grace } from './cancel-run.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { type Change, perform } from './perform.ts';
import { requireReason } from './run-control.ts';
import type { RunStatus } from './run.ts';

/** Runs of one operation: what takes minutes. More of them are several operations. */
export const bulkTotalMax = 10_000;

/** The states in which a run is meant; what has left them when its turn comes is passed over. */
const meant: Record<BulkAction, readonly RunStatus[]> = {
  CANCEL: ['PENDING', 'IN_PROGRESS'],
  RESUME: ['FAILED', 'CANCELLED'],
};

export interface BulkRuns extends Asked {
  action: BulkAction;
  filter: RunFilter;
  /** CANCEL: how long the workers of each run have to acknowledge. */
  graceSeconds: number | null;
}

/**
 * Freezes the runs that a filter means now, and has an API process cancel or resume them one after the other, each as if the
 * caller had asked for it: with its own audit entry and its own refusal.
 *
 * @throws INVALID_INPUT the filter says nothing, or the reason is missing
 * @throws LIMIT_EXCEEDED it means more than `bulkTotalMax` runs
 * @throws IDEMPOTENCY_CONFLICT
 */
export async function startBulk(deps: DomainDeps, caller: Caller, input: BulkRuns): Promise<BulkOperation> {
  const { action, filter, graceSeconds, reason, idempotencyKey } = input;
  const { value } = await perform<BulkOperation, void>(deps, caller, {
    action: `runs.${action.toLowerCase()}`,
    resourceType: 'bulkOperation',
    resourceId: null,
    reason,
    idempotencyKey,
    request: { action, filter: toJson(filter), graceSeconds },
    check: () => requireFitting(input),
    change: (tx) => freeze(tx, caller, input),
    again: (tx, { operationId }) => requireBulkOperation(tx, String(operationId)),
  });
  return value;
}

function requireFitting(input: BulkRuns): void {
  const { action, filter, graceSeconds } = input;
  requireReason(input, action.toLowerCase());
  if (Object.values(filter).every((condition) => condition === undefined)) {
    throw new FluxError(
      'INVALID_INPUT',
      'The filter says nothing, so it would mean every run of the agency. Give at least one condition.',
      { details: { issues: [{ path: '/filter', rule: 'minProperties', message: 'expected at least one condition' }] } },
    );
  }
  if (graceSeconds === null || (Number.isInteger(graceSeconds) && graceSeconds >= 1 && graceSeconds <= grace.most))
    return;
  throw new FluxError(
    'INVALID_INPUT',
    `graceSeconds is ${String(graceSeconds)}; pass a whole number from 1 to ${String(grace.most)}, or none for ${String(grace.default)}.`,
    { details: { issues: [{ path: '/graceSeconds', rule: 'range', message: 'expected 1 to 3600' }] } },
  );
}

async function freeze(tx: Connection, caller: Caller, input: BulkRuns): Promise<Change<BulkOperation>> {
  const { action, filter, graceSeconds, reason } = input;
  const { principal, traceId, ip, userAgent } = caller;
  const asker = { requestedBy: principal.subject, role: principal.role, clearance: principal.clearance };
  const { id, total } = await insertBulkOperation(
    tx,
    { action, filter: toJson(filter), reason: reason ?? '', graceSeconds, ...asker, traceId, ip, userAgent },
    { filter, statuses: meant[action], limit: bulkTotalMax },
  );
  if (total > bulkTotalMax) {
    throw new FluxError(
      'LIMIT_EXCEEDED',
      `The filter means more than ${String(bulkTotalMax)} runs. Narrow it, by pipeline or by time, and send several requests.`,
    );
  }
  const operation = await requireBulkOperation(tx, id);
  return {
    value: operation,
    resourceId: id,
    reference: { operationId: id },
    after: { action, total, filter: toJson(filter) },
  };
}

/** Stops an operation after the run that it is at. What it has done stays done. Asking again changes nothing. */
export async function abortBulk(
  deps: DomainDeps,
  caller: Caller,
  input: Asked & { operationId: string },
): Promise<BulkOperation> {
  const { operationId, reason, idempotencyKey } = input;
  const { value } = await perform<BulkOperation, void>(deps, caller, {
    action: 'runs.abort',
    resourceType: 'bulkOperation',
    resourceId: operationId,
    reason,
    idempotencyKey,
    request: { operationId },
    check: () => requireReason(input, 'abort an operation on'),
    async change(tx) {
      const before = await requireBulkOperation(tx, operationId);
      if (before.status === 'COMPLETED') {
        throw new FluxError(
          'INVALID_TRANSITION',
          `Operation ${operationId} has completed; there is nothing left to abort.`,
        );
      }
      await endBulkOperation(tx, operationId, 'ABORTED');
      const after = await requireBulkOperation(tx, operationId);
      return {
        value: after,
        resourceId: operationId,
        reference: { operationId },
        before: { status: before.status },
        after: { status: after.status, pending: after.pending, done: after.done },
      };
    },
    again: (tx) => requireBulkOperation(tx, operationId),
  });
  return value;
}

/** @throws NOT_FOUND unknown, another agency's and above the clearance read alike */
export async function requireBulkOperation(tx: Connection, id: string): Promise<BulkOperation> {
  const operation = await findBulkOperation(tx, id);
  if (operation) return operation;
  throw unknownOperation(id);
}

export function unknownOperation(id: string): FluxError {
  return new FluxError('NOT_FOUND', `There is no bulk operation ${id}. List them with \`bulkOperations\`.`);
}

function toJson(filter: RunFilter): Record<string, unknown> {
  return JSON.parse(JSON.stringify(filter)) as Record<string, unknown>;
}
