import { appendAudit } from '../audit/append.ts';
import { canonicalBytes } from '../canonical-json.ts';
import { sha256 } from '../crypto/hash.ts';
import { randomHex } from '../crypto/random.ts';
import { findFirstResult, lockName, saveFirstResult } from '../db/idempotency.ts';
import { findPipeline, type Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import { FluxError } from '../errors.ts';
import { activePlace } from '../telemetry/tracing.ts';
import type { DomainDeps } from './caller.ts';
import { queueRun } from './queue-run.ts';
import { auditedPayload } from './run-payload.ts';
import { datedSource } from './source-date.ts';

/** A run that nobody asked for in person: a tick's, or a date's of a backfill. */
export interface DatedRun {
  agencyId: string;
  /** `schedule:<name>` or `backfill:<id>`: who asked, in the run and in the audit log. */
  actor: string;
  reason: string;
  pipelineName: string;
  /** The pipeline must not have become more than that. */
  classification: number;
  priority: number;
  source: string | null;
  metadata: Readonly<Record<string, unknown>>;
  /** `YYYY-MM-DD` */
  date: string;
  /** The run's own: the same key never starts a second run. */
  idempotencyKey: string;
}

/**
 * Queues a run for a date with the pipeline's current version, as the agency's own login, in the caller's transaction: run,
 * key and audit entry stand together or not at all.
 *
 * @returns its id; that of the first run when the key was used before
 * @throws PIPELINE_NOT_FOUND, FORBIDDEN, INVALID_INPUT before anything is written
 */
export async function startDatedRun(deps: Pick<DomainDeps, 'keys'>, tx: Connection, wanted: DatedRun): Promise<string> {
  const { actor, reason, date, idempotencyKey: key, agencyId } = wanted;
  await lockName(tx, 'idempotency', `run.start/${key}`);
  const first = await findFirstResult(tx, 'run.start', key);
  if (first) return String(first.result['runId']);
  const pipeline = await currentPipeline(tx, wanted);
  const own = (JSON.parse(pipeline.definition) as { source: { path: string } }).source.path;
  const metadata = { ...wanted.metadata, date, pipeline: pipeline.name };
  const payload = {
    agency: agencyId,
    content_type: pipeline.contentType,
    use_case: pipeline.useCase,
    stage: 'full',
    source: datedSource(wanted.source, own, metadata),
    checkpoint_id: null,
    dry_run: false,
    metadata,
  };
  const traceId = activePlace()?.traceId ?? randomHex(16);
  const principal = { subject: actor, agency: agencyId, role: 'scheduler', clearance: wanted.classification };
  const caller = { principal, traceId, requestId: traceId, ip: 'internal', userAgent: null, sealed: () => '' };
  const run = await queueRun(deps, tx, caller, {
    pipeline,
    stage: 'FULL',
    payload,
    reason,
    priority: wanted.priority,
    origin: null,
  });
  const requestSha256 = sha256(canonicalBytes(payload));
  await saveFirstResult(tx, { operation: 'run.start', key, requestSha256, result: { runId: run.id } });
  await appendAudit(tx, {
    actor,
    role: 'scheduler',
    action: 'run.start',
    resourceType: 'run',
    resourceId: run.id,
    success: true,
    reason,
    after: {
      pipeline: { name: pipeline.name, version: pipeline.version },
      stage: 'FULL',
      payload: auditedPayload(deps, payload),
    },
    traceId,
  });
  return run.id;
}

async function currentPipeline(tx: Connection, { pipelineName: name, classification }: DatedRun): Promise<Pipeline> {
  const pipeline = await findPipeline(tx, name, null);
  if (!pipeline?.enabled) {
    throw new FluxError(
      'PIPELINE_NOT_FOUND',
      `The pipeline ${name} ${pipeline ? 'is not enabled' : 'does not exist'} any more.`,
    );
  }
  if (pipeline.classification <= classification) return pipeline;
  throw new FluxError(
    'FORBIDDEN',
    `The pipeline ${name} has been classified higher since. Somebody who is cleared for it should make this anew.`,
  );
}
