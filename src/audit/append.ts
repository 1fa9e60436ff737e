import { canonicalBytes } from '../canonical-json.ts';
import { insertAuditEntry, stampAuditEntry } from '../db/audit-entries.ts';
import type { Queryable } from '../db/pool.ts';
import type { ErrorCode } from '../errors.ts';

/** Who did what to which thing, and how it ended. What is left out reads as null. */
export interface AuditEntry {
  /** The subject of a token, or `worker:<id>`. */
  actor: string;
  /** The token's role, or `worker`. */
  role: string;
  /** `<thing>.<verb>`: `run.start`, `pipeline.register`, `batch.commit`. */
  action: string;
  resourceType: string;
  resourceId?: string | null;
  success: boolean;
  /** Required when `success` is false. */
  errorCode?: ErrorCode | null;
  reason?: string | null;
  /** JSON of the thing before and after; counts are numbers below 2^53 or strings. */
  before?: unknown;
  after?: unknown;
  traceId?: string | null;
  requestId?: string | null;
  ip?: string | null;
  userAgent?: string | null;
}

/**
 * Writes an audit entry in the caller's transaction, for the agency of its session: no entry, no change. The stored bytes are
 * the canonical JSON of the whole entry, its id, agency and time included, and are what later gets hashed.
 *
 * @returns the entry's id
 */
export async function appendAudit(tx: Queryable, entry: AuditEntry): Promise<string> {
  const stamp = await stampAuditEntry(tx);
  const full = {
    ...stamp,
    actor: entry.actor,
    role: entry.role,
    action: entry.action,
    resourceType: entry.resourceType,
    resourceId: entry.resourceId ?? null,
    success: entry.success,
    errorCode: entry.errorCode ?? null,
  };
  const body = canonicalBytes({
    ...full,
    reason: entry.reason ?? null,
    before: entry.before ?? null,
    after: entry.after ?? null,
    traceId: entry.traceId ?? null,
    requestId: entry.requestId ?? null,
    ip: entry.ip ?? null,
    userAgent: entry.userAgent ?? null,
  });
  await insertAuditEntry(tx, { ...full, body });
  return stamp.entryId;
}
