import { canonicalBytes } from '../canonical-json.ts';
import { appendToInbox, type EntryParts, inboxBatch } from '../db/audit-inbox.ts';
import type { Queryable } from '../db/pool.ts';
import type { Sql } from '../db/sql.ts';
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
 * as the database gives them, and are what is hashed. Personal data in it are masked before, save who acts, and of resource type
 * `subject` upon whom.
 *
 * @returns the entry's id
 */
export function appendAudit(tx: Queryable, entry: AuditEntry): Promise<string> {
  return appendToInbox(tx, partsOf(entry));
}

/** Several entries at once, in their order, as `appendAudit` writes one. As the API alone. */
export async function appendAudits(tx: Queryable, entries: readonly AuditEntry[]): Promise<void> {
  await tx.query(auditsStatement(entries));
}

/** The statement of `appendAudits`. */
export function auditsStatement(entries: readonly AuditEntry[]): Sql {
  return inboxBatch(entries.map(partsOf));
}

/**
 * RFC 8785 sorts keys: action actor after | agencyId at | before | entryId | errorCode ip reason ... userAgent. A text is written
 * there as JSON.stringify writes it (section 3.2.2.2), so that only what may hold objects goes through the whole algorithm:
 * entries come by the thousand.
 */
function partsOf(entry: AuditEntry): EntryParts {
  return {
    head: `{"action":${quoted(entry.action)},"actor":${quoted(entry.actor)},"after":${json(entry, entry.after)}`,
    middle: `"before":${json(entry, entry.before)}`,
    tail:
      `"errorCode":${quoted(entry.errorCode)},"ip":${quoted(entry.ip)},"reason":${masked(entry.reason)},` +
      `"requestId":${masked(entry.requestId)},"resourceId":${isPerson(entry) ? quoted(entry.resourceId) : masked(entry.resourceId)},` +
      `"resourceType":${quoted(entry.resourceType)},"role":${quoted(entry.role)},"success":${String(entry.success)},` +
      `"traceId":${quoted(entry.traceId)},"userAgent":${masked(entry.userAgent)}}`,
  };
}

function json(entry: AuditEntry, value: unknown): string {
  if (value === null || value === undefined) return 'null';
  const known = [entry.actor, ...(isPerson(entry) && entry.resourceId ? [entry.resourceId] : [])];
  return withoutNul(canonicalBytes(maskValue(value, { known })).toString('utf8'));
}

/** What was done to a person's access: whose it was is what the entry is about. */
function isPerson({ resourceType }: AuditEntry): boolean {
  return resourceType === 'subject';
}

function masked(text: string | null | undefined): string {
  return quoted(text === null || text === undefined ? null : maskText(text));
}

/** Half a surrogate pair has no place in UTF-8. */
function quoted(text: string | null | undefined): string {
  return text === null || text === undefined ? 'null' : withoutNul(JSON.stringify(text.toWellFormed()));
}

/** NUL, which PostgreSQL's JSON cannot hold, becomes the replacement character; an escaped backslash before it is left alone. */
function withoutNul(json: string): string {
  return json.includes('\\u0000') ? json.replaceAll(/(?<!\\)((?:\\\\)*)\\u0000/g, '$1\uFFFD') : json;
}
