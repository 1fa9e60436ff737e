import { appendAudit, type AuditEntry } from '../audit/append.ts';
import { canonicalBytes } from '../canonical-json.ts';
import { sha256 } from '../crypto/hash.ts';
import { findFirstResult, lockName, saveFirstResult } from '../db/idempotency.ts';
import type { Connection } from '../db/pool.ts';
import { inTenant, together } from '../db/transaction.ts';
import { FluxError, toFluxError } from '../errors.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { storableKey } from './no-personal-data.ts';

/** What a use case did, inside its transaction. */
export interface Change<T> {
  value: T;
  /** What it did it to, for the audit log. */
  resourceId: string;
  /** JSON by which `again` finds the value, when the same request comes a second time. */
  reference: Record<string, unknown>;
  /** The thing before and after, for the audit log: JSON, with counts as strings. */
  before?: unknown;
  after?: unknown;
}

/** A thing that a person asks Flux to change. */
export interface Ask<T, Checked> extends Asked {
  /** `<thing>.<verb>` */
  action: string;
  /** Under which its keys are kept, where one request may be one of several actions; the action if absent. */
  keyedAs?: string;
  resourceType: string;
  /** As far as the request itself names it; null when only the change makes it. */
  resourceId: string | null;
  /** The request as JSON, without key and reason: what equal requests have in common. */
  request: unknown;
  /** Rules that need no database. Throws before anything is locked; returns the request as it is then known to be. */
  check(): Checked;
  /** Rules and statements, all in one transaction under the caller's tenant context. */
  change(tx: Connection, checked: Checked): Promise<Change<T>>;
  /** Finds the first result again. */
  again(tx: Connection, reference: Record<string, unknown>): Promise<T>;
}

export interface Performed<T> {
  value: T;
  /** The first result of an earlier, equal request; nothing was done now. */
  repeated: boolean;
}

/**
 * Does what a person asks: the change, its audit entry and its idempotency key in ONE transaction. What is refused, or fails,
 * changes nothing and leaves an audit entry of its own.
 *
 * @throws IDEMPOTENCY_CONFLICT the key was used with another request
 * @throws whatever the change throws
 */
export async function perform<T, Checked>(
  deps: DomainDeps,
  caller: Caller,
  ask: Ask<T, Checked>,
): Promise<Performed<T>> {
  try {
    const checked = checkAsk(ask);
    return await inTenant(deps.pool, caller.sealed(), (tx) => changeOnce(tx, caller, ask, checked));
  } catch (cause) {
    const error = toFluxError(cause);
    await recordRefusal(deps, caller, ask, error);
    throw error;
  }
}

/** The rules that need no database. */
export function checkAsk<Checked>(ask: Ask<unknown, Checked>): Checked {
  requireFitting(ask);
  const checked = ask.check();
  requireNoNul(ask.request);
  return checked;
}

async function changeOnce<T, Checked>(
  tx: Connection,
  caller: Caller,
  ask: Ask<T, Checked>,
  checked: Checked,
): Promise<Performed<T>> {
  const { key, requestSha256 } = identityOf(ask);
  const operation = ask.keyedAs ?? ask.action;
  if (key !== null) {
    const [, first] = await together(
      tx,
      () => lockName(tx, 'idempotency', `${operation}/${key}`),
      () => findFirstResult(tx, operation, key), // sees what was committed before the lock was given
    );
    if (first) {
      if (!first.requestSha256.equals(requestSha256)) throw keyConflict(key, first.result);
      return { value: await ask.again(tx, first.result), repeated: true };
    }
  }
  const change = await ask.change(tx, checked);
  // Asked for together, because on the API's connections they then travel together.
  await Promise.all([
    key === null ? null : saveFirstResult(tx, { operation, key, requestSha256, result: change.reference }),
    appendAudit(tx, successOf(caller, ask, change)),
  ]);
  caller.recorded?.();
  return { value: change.value, repeated: false };
}

/**
 * A refusal in a transaction of its own, because the asked one rolled back. Best effort: a database that is away can
 * record nothing, and the caller must learn the first failure, not that one.
 */
export async function recordRefusal(
  deps: DomainDeps,
  caller: Caller,
  ask: Pick<Ask<unknown, unknown>, 'action' | 'resourceType' | 'resourceId' | 'reason'>,
  error: FluxError,
): Promise<void> {
  caller.recorded?.();
  try {
    await inTenant(deps.pool, caller.sealed(), (tx) =>
      appendAudit(tx, { ...entryOf(caller, ask), resourceId: ask.resourceId, success: false, errorCode: error.code }),
    );
  } catch (cause) {
    deps.logger.warn({ err: cause, action: ask.action, code: error.code }, 'a refusal could not be recorded');
  }
}

/** By what an equal request is known. */
export interface Identity {
  key: string | null;
  requestSha256: Buffer;
}

export function identityOf({
  idempotencyKey,
  request,
}: Pick<Ask<unknown, unknown>, 'idempotencyKey' | 'request'>): Identity {
  return {
    key: idempotencyKey === null ? null : storableKey(idempotencyKey),
    requestSha256: sha256(canonicalBytes(request)),
  };
}

/** The audit entry of what was done. */
export function successOf(
  caller: Caller,
  ask: Pick<Ask<unknown, unknown>, 'action' | 'resourceType' | 'reason'>,
  change: Omit<Change<unknown>, 'value'>,
): AuditEntry {
  const { resourceId, before, after } = change;
  return { ...entryOf(caller, ask), resourceId, success: true, before, after };
}

function entryOf(
  caller: Caller,
  { action, resourceType, reason }: Pick<Ask<unknown, unknown>, 'action' | 'resourceType' | 'reason'>,
): Omit<AuditEntry, 'success'> {
  const { principal, traceId, requestId, ip, userAgent } = caller;
  return {
    actor: principal.subject,
    role: principal.role,
    action,
    resourceType,
    reason: reason === null ? null : wellFormed(reason).slice(0, reasonLengthMax),
    traceId,
    requestId,
    ip,
    userAgent,
  };
}

const keyLengthMax = 255;
const reasonLengthMax = 2_000; // characters; the audit log is not a place for documents

function requireFitting({ idempotencyKey, reason }: Asked): void {
  if (
    idempotencyKey !== null &&
    (idempotencyKey.length < 1 || idempotencyKey.length > keyLengthMax || hasNul(idempotencyKey))
  ) {
    throw new FluxError(
      'INVALID_INPUT',
      `idempotencyKey has ${String(idempotencyKey.length)} characters; pass 1 to ${String(keyLengthMax)} without NUL, such as a UUID.`,
    );
  }
  if (reason !== null && (reason.length > reasonLengthMax || hasNul(reason) || !reason.isWellFormed())) {
    throw new FluxError(
      'INVALID_INPUT',
      `reason has ${String(reason.length)} characters; pass at most ${String(reasonLengthMax)}, of text that is valid Unicode without NUL.`,
    );
  }
}

/**
 * Asked of the request itself and not left to the database: what is sealed before it is stored is bytes to PostgreSQL, and a NUL
 * in it would surface only where somebody reads it.
 */
function requireNoNul(request: unknown): void {
  if (!JSON.stringify(request).includes('\\u0000')) return; // of a NUL, or of a backslash and these letters
  JSON.stringify(request, (name, part: unknown) => {
    if (hasNul(name) || (typeof part === 'string' && hasNul(part))) {
      throw new FluxError(
        'INVALID_INPUT',
        'A text of the input holds a NUL character, which cannot be stored. Remove it.',
      );
    }
    return part;
  });
}

/** PostgreSQL's text cannot hold it. */
function hasNul(text: string): boolean {
  return text.includes('\0');
}

/** A refused reason is recorded too, and neither canonical JSON nor PostgreSQL takes half a surrogate pair. */
function wellFormed(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\uFFFD');
}

function keyConflict(key: string, first: Record<string, unknown>): FluxError {
  return new FluxError(
    'IDEMPOTENCY_CONFLICT',
    `The idempotency key "${key}" was used before with another request. Use a new key for a new request.`,
    { details: { first } },
  );
}
