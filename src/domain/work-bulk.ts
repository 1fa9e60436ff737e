import { appendAudit } from '../audit/append.ts';
import { sealContext } from '../auth/tenant-context.ts';
import {
  type BulkClaim,
  type BulkItem,
  type BulkOperation,
  claimBulkOperation,
  endBulkOperation,
  findBulkOperation,
  keepBulkOperation,
  listBulkItems,
  releaseBulkOperation,
  settleBulkItem,
} from '../db/bulk-operations.ts';
import { inTenant } from '../db/transaction.ts';
import { publicMessage, toFluxError } from '../errors.ts';
import { cancelRun } from './cancel-run.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { resumeRun } from './resume-run.ts';

/** An API process that dies leaves its operation to another after this long. */
const leaseDefaultMs = 15_000;
const pollMs = 1_000;
const itemsPerTurn = 50;
/** How often a run's turn may end in a failure that passes by itself. */
const attemptsMax = 5;
const contextSeconds = 60;

export interface BulkWorkerDeps extends DomainDeps {
  seal: { keyId: string; key: Buffer };
  /** Names this process in leases. */
  holder: string;
}

/** Works operations on many runs until it is stopped: one run after the other, as if their askers asked for each. */
export interface BulkWorker {
  /** Resolves when the run in hand is settled. */
  stop(): Promise<void>;
}

export function startBulkWorker(deps: BulkWorkerDeps, { everyMs = pollMs }: { everyMs?: number } = {}): BulkWorker {
  let timer: NodeJS.Timeout | undefined;
  let working = Promise.resolve();
  const stopping = new AbortController();
  const look = async (): Promise<void> => {
    try {
      while (!stopping.signal.aborted && (await workOneBulk(deps, stopping.signal)));
    } catch (err) {
      deps.logger.warn({ err }, 'no bulk operation can be worked now');
    }
  };
  const next = (): void => {
    timer = setTimeout(() => {
      working = look().finally(() => {
        if (!stopping.signal.aborted) next();
      });
    }, everyMs);
  };
  next();
  return {
    async stop() {
      stopping.abort();
      clearTimeout(timer);
      await working;
    },
  };
}

/**
 * Takes an operation and works up to 50 of its runs, so that a long one keeps no other waiting.
 *
 * @returns false when there was none, or it has to wait
 */
export async function workOneBulk(
  deps: BulkWorkerDeps,
  signal: AbortSignal,
  leaseMs: number = leaseDefaultMs,
): Promise<boolean> {
  const claim = await claimBulkOperation(deps.pool, deps.holder, leaseMs);
  if (!claim) return false;
  const sealed = sealing(deps, claim);
  const operation = await inTenant(deps.pool, sealed(), (tx) => findBulkOperation(tx, claim.operationId));
  if (!operation) return false;
  const caller = callerOf(claim, operation, sealed);
  const items = await inTenant(deps.pool, sealed(), (tx) =>
    listBulkItems(tx, claim.operationId, { status: 'PENDING', after: null, limit: itemsPerTurn }),
  );
  for (const item of items) {
    if (signal.aborted) break;
    // An abort, or another holder after a long silence of ours, ends our work here.
    const ours = await inTenant(deps.pool, sealed(), (tx) => keepBulkOperation(tx, claim, deps.holder, leaseMs));
    if (!ours) return true;
    const settled = await act(deps, caller, operation, item);
    await inTenant(deps.pool, sealed(), (tx) => settleBulkItem(tx, claim, settled));
    if (settled.status === 'PENDING') return false; // it may pass by itself: the lease's end begins the next try
  }
  if (items.length < itemsPerTurn && !signal.aborted) return complete(deps, claim, sealed, operation);
  await inTenant(deps.pool, sealed(), (tx) => releaseBulkOperation(tx, claim, deps.holder));
  return true;
}

type Settled = Pick<BulkItem, 'position' | 'status' | 'errorCode' | 'errorMessage'>;

/** The key makes a run that was done before a crash count as done after it. */
async function act(
  deps: DomainDeps,
  caller: Caller,
  { id, action, reason, graceSeconds }: BulkOperation,
  { position, runId, attempts }: BulkItem,
): Promise<Settled> {
  const asked = { runId, reason, idempotencyKey: `bulk:${id}:${runId}` };
  try {
    if (action === 'CANCEL') await cancelRun(deps, caller, { ...asked, graceSeconds });
    else await resumeRun(deps, caller, asked);
    return { position, status: 'DONE', errorCode: null, errorMessage: null };
  } catch (cause) {
    const error = toFluxError(cause);
    if (error.retryable && attempts + 1 < attemptsMax) {
      return { position, status: 'PENDING', errorCode: null, errorMessage: null };
    }
    const status = error.code === 'INVALID_TRANSITION' ? 'SKIPPED' : 'FAILED';
    return { position, status, errorCode: error.code, errorMessage: publicMessage(error) };
  }
}

async function complete(
  deps: BulkWorkerDeps,
  { operationId }: BulkClaim,
  sealed: () => string,
  { action, requestedBy, role, traceId }: BulkOperation,
): Promise<true> {
  await inTenant(deps.pool, sealed(), async (tx) => {
    if (!(await endBulkOperation(tx, operationId, 'COMPLETED'))) return;
    const after = await findBulkOperation(tx, operationId);
    await appendAudit(tx, {
      actor: requestedBy,
      role,
      action: `runs.${action.toLowerCase()}.complete`,
      resourceType: 'bulkOperation',
      resourceId: operationId,
      success: true,
      after: after && { total: after.total, done: after.done, skipped: after.skipped, failed: after.failed },
      traceId,
    });
  });
  return true;
}

function sealing({ seal }: BulkWorkerDeps, { agencyId, role, clearance }: BulkClaim): () => string {
  return () =>
    sealContext(seal, {
      agency: agencyId,
      role,
      clearance,
      expiresAt: Math.floor(Date.now() / 1_000) + contextSeconds,
    });
}

function callerOf({ agencyId }: BulkClaim, operation: BulkOperation, sealed: () => string): Caller {
  const { id, requestedBy, role, clearance, traceId, ip, userAgent } = operation;
  return {
    principal: { subject: requestedBy, agency: agencyId, role, clearance },
    sealed,
    requestId: `bulk:${id}`,
    traceId: traceId ?? '',
    ip: ip ?? '',
    userAgent,
  };
}
