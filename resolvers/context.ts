import type { ActivityLog } from '../src/audit/activity-log.ts';
import type { AnchoredNote } from '../src/audit/anchor.ts';
import { type Asker, entryOf, OperationTrace } from '../src/audit/operation-trace.ts';
import type { RequestContext } from '../src/auth/request-context.ts';
import { gatherReads, type TenantRead } from '../src/db/gathered-reads.ts';
import type { LakeReader } from '../src/db/lake-reader.ts';
import type { SendHint } from '../src/db/notify.ts';
import type { Connection, Pool } from '../src/db/pool.ts';
import { inTenantSnapshot } from '../src/db/transaction.ts';
import { recordRefusal } from '../src/domain/perform.ts';
import type { WebhookDeps } from '../src/domain/webhooks.ts';
import { FluxError } from '../src/errors.ts';
import type { Hints, Log } from '../src/events/listen.ts';
import type { KeyRing } from '../src/keys/key-ring.ts';
import { createLoaders, type Loaders } from './loaders.ts';

/** What main.ts composes for the API. */
export interface ApiDeps {
  /** Logged in as the API's role. */
  pool: Pool;
  /** Seals and opens what runs leave in tables. */
  keys?: KeyRing | undefined;
  /** Where hints travel another way than through the database. */
  sendHint?: SendHint | undefined;
  /** Signs cursors (`cursorKeyOf`). */
  cursorKey: Buffer;
  hints: Hints;
  logger: Log;
  /** Takes the entries of what changes nothing: reads, refusals, subscriptions. */
  activity: ActivityLog;
  /** How often streams look without a hint, milliseconds. */
  pollMs?: number;
  /** Reads datasets, each as its agency. */
  lake?: LakeReader;
  /** Where webhooks may lead, and what opens secrets from before they came under the agencies’ keys. */
  webhooks?: WebhookDeps['webhooks'];
  /** What the audit log is verified with: the sealer's public key and those of before, and the checkpoints kept outside the database. */
  audit?: { publicKey: Buffer; earlierKeys?: readonly Buffer[]; anchored(): Promise<AnchoredNote[]> };
}

/** A field that was refused, for the audit log. */
export interface Denial {
  /** `Mutation.startRun` */
  field: string;
  /** The scopes that would have been enough: outer list or, inner list and. */
  required: readonly (readonly string[])[];
}

/** What every resolver gets: the caller, and what main.ts composed for the API. */
export interface Context extends RequestContext {
  readonly api: ApiDeps;
  readonly loaders: Loaders;
  /** Reads under the caller's tenant context; what is read at once shares a transaction. */
  readonly read: TenantRead;
  /** Reads in a transaction of its own that sees one moment. */
  readonly readSnapshot: TenantRead;
  /** What this operation reads, for the audit log. */
  readonly trace: OperationTrace;
  recorded(): void;
  /** Told of each refusal before the caller is; a refusal that cannot be recorded stays a refusal. */
  onDenied?(denial: Denial): Promise<void>;
}

/** The context of one HTTP request or WebSocket operation. */
export function createContext(api: ApiDeps, request: RequestContext): Context {
  const read = gatherReads(api.pool, () => request.sealed(), request.signal);
  const context: Context = {
    ...request,
    api,
    read,
    readSnapshot: (work) => inTenantSnapshot(api.pool, request.sealed(), work, request.signal),
    loaders: createLoaders(read),
    trace: new OperationTrace(request, api.activity),
    onDenied: (denial) => auditDenial(context, denial),
    recorded: () => context.trace.recorded(),
  };
  return unchangeable(context);
}

/** No resolver changes what another sees. Not frozen, because instrumentations keep a note of their own beside it, under a symbol. */
function unchangeable<T extends object>(context: T): T {
  for (const name of Object.keys(context))
    Object.defineProperty(context, name, { writable: false, configurable: false });
  return context;
}

/** Reads under the caller's tenant context, in one transaction; ends on the server too when nobody waits any more. */
export function read<T>(ctx: Context, work: (tx: Connection) => Promise<T>): Promise<T> {
  return ctx.read(work);
}

/** Equal for callers who see the same rows: what is read for one of them may be shown to all. */
export function viewerOf({ principal: { agency, role, clearance } }: Context): string {
  return `${agency} ${role} ${String(clearance)}`;
}

/** What the audit log calls a mutation, also one that was refused before it reached its use case. */
const actions: Record<string, [action: string, resourceType: string]> = {
  startRun: ['run.start', 'run'],
  cancelRun: ['run.cancel', 'run'],
  resumeRun: ['run.resume', 'run'],
  rerunRun: ['run.rerun', 'run'],
  forkRun: ['run.fork', 'checkpoint'],
  replayRun: ['run.replay', 'run'],
  reprocessRejected: ['run.reprocess', 'run'],
  cancelRuns: ['runs.cancel', 'bulkOperation'],
  resumeRuns: ['runs.resume', 'bulkOperation'],
  abortBulkOperation: ['runs.abort', 'bulkOperation'],
  registerConnection: ['connection.register', 'connection'],
  registerContract: ['contract.register', 'contract'],
  registerPipeline: ['pipeline.register', 'pipeline'],
  updateAgency: ['agency.update', 'agency'],
  registerWebhook: ['webhook.register', 'webhook'],
  setWebhookEnabled: ['webhook.enable', 'webhook'],
  rotateWebhookSecret: ['webhook.rotate', 'webhook'],
  deleteWebhook: ['webhook.delete', 'webhook'],
  replayWebhookDelivery: ['webhook.replay', 'webhook_delivery'],
  createSchedule: ['schedule.create', 'schedule'],
  pauseSchedule: ['schedule.pause', 'schedule'],
  resumeSchedule: ['schedule.resume', 'schedule'],
  removeSchedule: ['schedule.remove', 'schedule'],
  startBackfill: ['backfill.start', 'backfill'],
  cancelBackfill: ['backfill.cancel', 'backfill'],
  resumeBackfill: ['backfill.resume', 'backfill'],
  revokeSubscriptions: ['subscription.revoke', 'subscription'],
  setLegalHold: ['agency.hold', 'agency'],
  liftLegalHold: ['agency.unhold', 'agency'],
};

/** Records that a mutation was refused before it reached its use case, which records its own refusals. */
export async function recordMutationRefusal(
  context: Context,
  mutation: string,
  reason: string | null,
  error: FluxError,
): Promise<void> {
  const [action, resourceType] = actions[mutation] ?? [`mutation.${mutation}`, 'mutation'];
  await recordRefusal(context.api, context, { action, resourceType, resourceId: null, reason }, error);
}

/** Records that a request was refused as a whole: its token, its document, its place in the queue. */
export function recordRequestRefusal(activity: ActivityLog, asker: Asker, error: FluxError): void {
  activity.addRefusal(asker.principal.agency, {
    ...entryOf(asker),
    action: 'request.refuse',
    resourceType: 'request',
    success: false,
    errorCode: error.code,
    after: { message: error.message.slice(0, refusalLengthMax) },
  });
}

const refusalLengthMax = 500; // characters; a document can be told a hundred mistakes

/** A refused mutation has an entry at once. What is refused of a read is gathered: a masked field of a list comes once a row. */
async function auditDenial(context: Context, { field, required }: Denial): Promise<void> {
  const [type, name = ''] = field.split('.');
  if (type !== 'Mutation') return context.trace.refused(field, 'FORBIDDEN');
  const error = new FluxError('FORBIDDEN', `${field} needs ${required.map((all) => all.join(' and ')).join(', or ')}`);
  await recordMutationRefusal(context, name, null, error);
}
