import { appendAudit } from '../audit/append.ts';
import type { Queryable } from '../db/pool.ts';
import type { Claim } from '../db/queue.ts';
import type { ErrorCode } from '../errors.ts';
import type { WorkerDeps } from './work.ts';

/** Says that a partition changed hands: it was taken, or given back. In the transaction in which it does. */
export async function auditTaking(
  tx: Queryable,
  { config }: Pick<WorkerDeps, 'config'>,
  claim: Claim,
  what: {
    action: 'partition.take' | 'partition.return';
    traceId: string | null;
    /** Why it is given back, when something failed. */
    errorCode?: ErrorCode;
    after?: object;
  },
): Promise<void> {
  const { partitionNo: partition, kind, epoch, takings, takenOver } = claim;
  await appendAudit(tx, {
    actor: `worker:${config.id}`,
    role: 'worker',
    action: what.action,
    resourceType: 'run',
    resourceId: claim.runId,
    success: what.errorCode === undefined,
    errorCode: what.errorCode ?? null,
    after: { partition, kind, epoch, takings, takenOver, ...what.after },
    traceId: what.traceId,
  });
}
