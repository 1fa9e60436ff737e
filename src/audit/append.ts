import { canonicalBytes } from '../canonical-json.ts';
import { appendBatchToInbox, appendToInbox, type EntryParts } from '../db/audit-inbox.ts';
import type { Queryable } from '../db/pool.ts';
import type { ErrorCode } from '../errors.ts';
import { maskText, maskValue } from '../personal-data/mask.ts';

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
 * Writes an audit entry in the caller's transaction, for the agency of its session: no entry, no change. It waits in the inbox
 * until the sealer numbers and hashes it. The stored bytes are the canonical JSON of the whole entry, with id, agency and time
 * as the database gives them, and are what is hashed. Personal data in it are masked before, save who acts.
 *
 * @returns the entry's id
 */
export function appendAudit(tx: Queryable, entry: AuditEntry): Promise<string> {
  return appendToInbox(tx, partsOf(entry));
}

/** Several entries at once, in their order, as `appendAudit` writes one. As the API alone. */
export function appendAudits(tx: Queryable, entries: readonly AuditEntry[]): Promise<void> {
  return appendBatchToInbox(tx, entries.map(partsOf));
}

/** RFC 8785 sorts keys: action actor after | agencyId at | before | entryId | errorCode ip reason ... userAgent. */
function partsOf(entry: AuditEntry): EntryParts {
  return {
    head: textOf({ action: entry.action, actor: entry.actor, after: masked(entry, entry.after) }).slice(0, -1),
    middle: textOf({ before: masked(entry, entry.before) }).slice(1, -1),
    tail: textOf({
      errorCode: entry.errorCode ?? null,
      ip: entry.ip ?? null,
      reason: maskedText(entry.reason),
      requestId: maskedText(entry.requestId),
      resourceId: maskedText(entry.resourceId),
      resourceType: entry.resourceType,
      role: entry.role,
      success: entry.success,
      traceId: entry.traceId ?? null,
      userAgent: maskedText(entry.userAgent),
    }).slice(1),
  };
}

function masked({ actor }: AuditEntry, value: unknown): unknown {
  return maskValue(value ?? null, { known: [actor] });
}

function maskedText(text: string | null | undefined): string | null {
  return text === null || text === undefined ? null : maskText(text);
}

/** NUL, which PostgreSQL's JSON cannot hold, becomes the replacement character; an escaped backslash before it is left alone. */
function textOf(part: object): string {
  return canonicalBytes(part)
    .toString('utf8')
    .replaceAll(/(?<!\\)((?:\\\\)*)\\u0000/g, '$1\uFFFD');
}
