import { validateRunPayload } from '../contracts/documents.ts';
import type { Run } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { forkRun } from './fork-run.ts';
import { requireOwnAgency } from './own-agency.ts';
import { requireNoPersonalData } from './no-personal-data.ts';
import type { Ask } from './perform.ts';
import { performTogether } from './perform-together.ts';
import { activePlace } from '../telemetry/tracing.ts';
import { foreseeStarts, mayStartTogether, planStarts, queueStart, readForStarts, type Start } from './queue-start.ts';
import type { Wanted } from './resolve-pipeline.ts';
import { requireRun, wakeWorkers } from './run-control.ts';
import type { RunStage } from './run.ts';

export interface StartRun extends Asked {
  /** The pipeline's name, or a bare payload: exactly one of them. */
  pipeline: string | null;
  /** A document of schemas/v1/run-payload.schema.json, not yet validated. */
  payload: unknown;
  stage: RunStage | null;
  dryRun: boolean | null;
  /** Everything is read, whatever earlier runs have read. */
  full?: boolean | null;
  /** -100 to 100; 0 if absent. */
  priority?: number | null;
  /** The caller's own notes. */
  metadata: unknown;
}

/**
 * Queues a run: the run, its first partition, RunQueued and the audit entry in one transaction, which it may share with others of its
 * agency that come at the same moment; then wakes the workers. A payload with a checkpoint_id means forkRun.
 *
 * @throws INVALID_INPUT the input or the payload breaks a rule, or asks for what is not offered
 * @throws DATA_ISOLATION the payload names another agency
 * @throws PIPELINE_NOT_FOUND, AMBIGUOUS_PIPELINE with the candidates
 * @throws NOT_FOUND, CHECKPOINT_CORRUPTED, CHECKPOINT_MISSING the payload's checkpoint cannot be forked
 * @throws STAGE_INPUT_MISSING no earlier stage has left anything behind
 * @throws REFERENCE_MISSING a dataset that the pipeline joins has not been loaded
 * @throws IDEMPOTENCY_CONFLICT
 */
export async function startRun(deps: DomainDeps, caller: Caller, input: StartRun): Promise<Run> {
  const checkpointId = checkpointOf(input.payload);
  if (checkpointId !== null) {
    const { reason, idempotencyKey } = input;
    return forkRun(deps, caller, { checkpointId, reason, idempotencyKey, payload: () => wantedOf(caller, input) });
  }
  const place = activePlace();
  const ask: Ask<Run, Start> = {
    action: 'run.start',
    resourceType: 'run',
    resourceId: null,
    reason: input.reason,
    idempotencyKey: input.idempotencyKey,
    request: {
      pipeline: input.pipeline,
      payload: input.payload ?? null,
      stage: input.stage,
      dryRun: input.dryRun,
      ...(input.full ? { full: true } : {}),
      ...(input.priority ? { priority: input.priority } : {}),
      metadata: input.metadata ?? null,
    },
    check: () => ({ ...wantedOf(caller, input), reason: input.reason, priority: input.priority ?? 0, place }),
    change: (tx, start) => queueStart(deps, tx, { caller, checked: start }),
    again: (tx, { runId }) => requireRun(tx, String(runId)),
  };
  const { value, repeated } = await performTogether(deps, caller, ask, {
    fits: mayStartTogether,
    read: (tx, members) => readForStarts(deps, tx, members),
    foresee: (members) => foreseeStarts(deps, members),
    plan: (tx, read, members) => planStarts(deps, tx, read, members),
  });
  if (!repeated) wakeWorkers(deps, value.id);
  return value;
}

/** The rules of the request that need no database. */
function wantedOf(caller: Caller, input: StartRun): Wanted {
  const { pipeline, payload } = input;
  if ((pipeline === null) === (payload === null || payload === undefined)) {
    throw new FluxError(
      'INVALID_INPUT',
      'Pass either `pipeline`, the name of a pipeline, or `payload`, a bare payload; exactly one of them.',
    );
  }
  const wanted = pipeline === null ? wantedByPayload(caller, input) : wantedByName(caller, input, pipeline);
  requirePriority(input.priority ?? null);
  requirePathInside(wanted.payload.source ?? null);
  requireNoPersonalData('source', wanted.payload.source ?? null);
  requireSourceOfStage(wanted);
  return wanted;
}

/** The named pipeline decides content type and use case; what else the caller says is checked as if a payload said it. */
function wantedByName(caller: Caller, input: StartRun, name: string): Wanted {
  const notes = asNotes(input.metadata);
  if (notes['pipeline'] !== undefined && notes['pipeline'] !== name) {
    throw new FluxError('INVALID_INPUT', 'The input and its metadata.pipeline name two pipelines. Name one.');
  }
  const payload = validateRunPayload({
    agency: caller.principal.agency,
    content_type: 'text',
    use_case: 'research',
    dry_run: input.dryRun ?? false,
    ...(input.full ? { full: true } : {}),
    metadata: { ...notes, pipeline: name },
  });
  return { name, purpose: null, stage: input.stage ?? 'FULL', payload };
}

function wantedByPayload(caller: Caller, input: StartRun): Wanted {
  const given = asObject(input.payload, 'payload');
  requireOwnAgency(caller, given['agency']);
  const payload = validateRunPayload({
    ...given,
    ...(input.full ? { full: true } : {}),
    ...(input.metadata === null || input.metadata === undefined
      ? {}
      : { metadata: { ...asNotes(given['metadata']), ...asNotes(input.metadata) } }),
  });
  const stage = payload.stage.toUpperCase() as RunStage;
  if (input.stage !== null && given['stage'] !== undefined && stage !== input.stage) {
    throw new FluxError(
      'INVALID_INPUT',
      `The input asks for stage ${input.stage}, its payload for ${payload.stage}. Name one stage.`,
    );
  }
  return {
    name: payload.metadata.pipeline ?? null,
    purpose: { contentType: payload.content_type, useCase: payload.use_case },
    stage: input.stage ?? stage,
    payload: { ...payload, dry_run: input.dryRun ?? payload.dry_run },
  };
}

function asNotes(metadata: unknown): Record<string, unknown> {
  return metadata === null || metadata === undefined ? {} : asObject(metadata, 'metadata');
}

function asObject(value: unknown, name: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new FluxError('INVALID_INPUT', `${name} must be a JSON object.`, {
    details: { issues: [{ path: `/${name}`, rule: 'type', message: 'must be an object' }] },
  });
}

/** Higher is taken first among an agency's own partitions; between agencies it counts for nothing. */
export const priorityBounds = { least: -100, most: 100 } as const;

export function requirePriority(priority: number | null): void {
  const { least, most } = priorityBounds;
  if (priority === null || (Number.isInteger(priority) && priority >= least && priority <= most)) return;
  throw new FluxError(
    'INVALID_INPUT',
    `priority is ${String(priority)}; pass a whole number from ${String(least)} to ${String(most)}, or none for 0.`,
    { details: { issues: [{ path: '/priority', rule: 'range', message: 'expected -100 to 100' }] } },
  );
}

/** A payload that names a checkpoint means a fork. What it says beside it is checked there. */
function checkpointOf(payload: unknown): string | null {
  const id =
    typeof payload === 'object' && payload !== null ? (payload as Record<string, unknown>)['checkpoint_id'] : null;
  return typeof id === 'string' ? id : null;
}

/** TRANSFORM and EXPORT read what an earlier stage has left behind. */
function requireSourceOfStage({ stage, payload }: Wanted): void {
  if (stage === 'FULL' || stage === 'INGEST' || payload.source === null || payload.source === undefined) return;
  throw new FluxError(
    'INVALID_INPUT',
    `Stage ${stage} reads the parts of an earlier stage and no source. Leave source out, or ask for stage ingest.`,
    { details: { issues: [{ path: '/source', rule: 'stage', message: 'expected none' }] } },
  );
}

/** The same rule as the pipeline's own path has; the worker checks the real path again. */
export function requirePathInside(source: string | null): void {
  if (source === null || /^(?!\/)(?!(.*\/)?\.\.(\/|$))[^\0\\]+$/.test(source)) return;
  throw new FluxError(
    'INVALID_INPUT',
    'source must be a path relative to a root of the pipeline’s connection, without `..` and backslashes.',
    {
      details: {
        issues: [{ path: '/source', rule: 'pattern', message: 'expected a relative path inside the connection' }],
      },
    },
  );
}
