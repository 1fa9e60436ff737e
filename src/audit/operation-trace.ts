import type { ErrorCode } from '../errors.ts';
import type { ActivityLog, EntrySource } from './activity-log.ts';
import type { AuditEntry } from './append.ts';

/** Who asks, as far as an entry says it. */
export interface Asker {
  readonly principal: { readonly subject: string; readonly agency: string; readonly role: string };
  readonly requestId: string;
  readonly traceId: string;
  readonly ip: string;
  readonly userAgent: string | null;
}

export type OperationKind = 'query' | 'mutation' | 'subscription';

/** Of each type; the count beside them goes on. */
const idsMax = 50;
const nameLengthMax = 128;

interface Touched {
  count: number;
  ids: Set<string>;
}

/**
 * What one operation has read: its root fields, and of which types how many objects and which. Gathered while it runs, and
 * told to the activity log; a subscription tells it once, when it closes.
 */
export class OperationTrace implements EntrySource {
  readonly #asker: Asker;
  readonly #log: ActivityLog;
  #kind: OperationKind = 'query';
  #name: string | null = null;
  #recorded = false;
  #fields = new Set<string>();
  #types = new Map<string, Touched>();
  #failed = new Map<string, ErrorCode>();
  #refused = new Map<string, { code: ErrorCode; count: number }>();

  constructor(asker: Asker, log: ActivityLog) {
    this.#asker = asker;
    this.#log = log;
  }

  get agency(): string {
    return this.#asker.principal.agency;
  }

  /**
   * A root field is about to be answered.
   *
   * @throws UNAVAILABLE the audit log can keep nothing more
   */
  begin(kind: OperationKind, name: string | null, field: string): void {
    this.#log.admit();
    this.#kind = kind;
    this.#recorded = false;
    this.#name = name?.slice(0, nameLengthMax) ?? null;
    if (kind === 'query') this.#fields.add(field);
    this.#watch();
  }

  /** The mutation under way has an entry of its own. */
  recorded(): void {
    this.#recorded = true;
  }

  /** A mutation failed; where it never came to its use case, which would have told it, this does. */
  mutationFailed(field: string, code: ErrorCode): void {
    if (!this.#recorded)
      this.#add(`mutation.${field.slice('Mutation.'.length)}`, field, { operation: this.#name }, code);
  }

  /** A root field of a query could not be answered. */
  failed(field: string, code: ErrorCode): void {
    this.#failed.set(field, code);
    this.#watch();
  }

  /** Something was refused: a field beyond the caller's scopes, an agency that is not the caller's. */
  refused(what: string, code: ErrorCode): void {
    const known = this.#refused.get(what);
    if (known) known.count += 1;
    else this.#refused.set(what, { code, count: 1 });
    // Also within a subscription: whoever is refused something is told of now.
    this.#log.watch(this);
  }

  /** An object of the answer. */
  touched(type: string): void {
    this.#of(type).count += 1;
    this.#watch();
  }

  /** Which object it was, where it has an id. */
  touchedId(type: string, id: string): void {
    const { ids } = this.#of(type);
    if (ids.size < idsMax) ids.add(id);
  }

  opened(field: string): void {
    this.#add('subscription.open', field, { operation: this.#name });
  }

  refusedToOpen(field: string, code: ErrorCode): void {
    this.#add('subscription.open', field, { operation: this.#name }, code);
  }

  /** @param end how it came: `ENDED` by its source, `LEFT` by the client or the server, or the code of a failure */
  closed(field: string, end: 'ENDED' | 'LEFT' | ErrorCode, seconds: number): void {
    const after = { operation: this.#name, end, seconds, types: this.#takeTypes() };
    this.#add('subscription.close', field, after, end === 'ENDED' || end === 'LEFT' ? null : end);
  }

  take(): readonly AuditEntry[] {
    const entries: AuditEntry[] = [];
    for (const [what, { code, count }] of this.#refused) {
      entries.push(this.#entry('access.refuse', what, { operation: this.#name, count }, code));
    }
    this.#refused = new Map();
    if (this.#kind === 'subscription') return entries;
    const read = this.#takeRead();
    return read ? [read, ...entries] : entries;
  }

  #takeRead(): AuditEntry | null {
    const [fields, failed] = [[...this.#fields], this.#failed];
    this.#fields = new Set();
    this.#failed = new Map();
    const types = this.#takeTypes();
    if (fields.length === 0 && Object.keys(types).length === 0) return null;
    const every = fields.length > 0 && fields.every((field) => failed.has(field));
    const after = {
      operation: this.#name,
      kind: this.#kind,
      fields,
      types,
      ...(failed.size > 0 ? { failed: Object.fromEntries(failed) } : {}),
    };
    const entry = this.#entry('data.read', null, after, every ? ([...failed.values()][0] ?? null) : null);
    return { ...entry, ...soleResource(types) };
  }

  #takeTypes(): Record<string, { count: number; ids?: string[] }> {
    const types = this.#types;
    this.#types = new Map();
    return Object.fromEntries(
      [...types].map(([type, { count, ids }]) => [type, { count, ...(ids.size > 0 ? { ids: [...ids] } : {}) }]),
    );
  }

  #of(type: string): Touched {
    const known = this.#types.get(type) ?? { count: 0, ids: new Set() };
    this.#types.set(type, known);
    return known;
  }

  #watch(): void {
    // What a subscription delivers is told when it closes. Told at once, a reader of the audit log would feed itself.
    if (this.#kind !== 'subscription') this.#log.watch(this);
  }

  #add(action: string, field: string, after: object, code: ErrorCode | null = null): void {
    this.#log.add(this.agency, this.#entry(action, field, after, code));
  }

  #entry(action: string, resourceId: string | null, after: object, code: ErrorCode | null): AuditEntry {
    return {
      ...entryOf(this.#asker),
      action,
      resourceType: this.#kind,
      resourceId,
      success: code === null,
      errorCode: code,
      after,
    };
  }
}

/** What every entry says of who asked. */
export function entryOf({ principal, requestId, traceId, ip, userAgent }: Asker) {
  return { actor: principal.subject, role: principal.role, requestId, traceId, ip, userAgent };
}

/** An answer about exactly one thing is found by that thing. */
function soleResource(
  types: Record<string, { ids?: string[] }>,
): Pick<AuditEntry, 'resourceType' | 'resourceId'> | null {
  const named = Object.entries(types).filter(([, { ids }]) => ids);
  const [type, { ids = [] } = {}] = named[0] ?? [];
  if (named.length !== 1 || type === undefined || ids.length !== 1) return null;
  return { resourceType: `${type.charAt(0).toLowerCase()}${type.slice(1)}`, resourceId: ids[0] ?? null };
}
