import { type RunPayload, validateRunPayload } from '../contracts/documents.ts';
import type { Pipeline } from '../db/pipelines.ts';
import type { Connection } from '../db/pool.ts';
import type { Run } from '../db/runs.ts';
import { FluxError } from '../errors.ts';
import type { Asked, Caller, DomainDeps } from './caller.ts';
import { requireOwnAgency } from './own-agency.ts';
import { requireNoPersonalData } from './no-personal-data.ts';
import { type Change, perform } from './perform.ts';
import { queueRun } from './queue-run.ts';
import { resolvePipeline, type Wanted } from './resolve-pipeline.ts';
import { stageInput } from './stage-input.ts';
import { requireEnabledAgency, requireRun, wakeWorkers } from './run-control.ts';
import { auditedPayload } from './run-payload.ts';
import type { RunStage } from './run.ts';
import { datedSource } from './source-date.ts';

export interface StartRun extends Asked {
  /** The pipeline's name, or a bare payload: exactly one of them. */
  pipeline: string | null;
  /** A document of schemas/v1/run-payload.schema.json, not yet validated. */
  payload: unknown;
  stage: RunStage | null;
  dryRun: boolean | null;
  /** -100 to 100; 0 if absent. */
  priority?: number | null;
  /** The caller's own notes. */
  metadata: unknown;
}

/**
 * Queues a run: the run, its first partition, RunQueued and the audit entry in one transaction; then wakes the workers.
 *
 * @throws INVALID_INPUT the input or the payload breaks a rule, or asks for what is not offered
 * @throws DATA_ISOLATION the payload names another agency
 * @throws PIPELINE_NOT_FOUND, AMBIGUOUS_PIPELINE with the candidates
 * @throws STAGE_INPUT_MISSING no earlier stage has left anything behind
 * @throws IDEMPOTENCY_CONFLICT
 */
export async function startRun(deps: DomainDeps, caller: Caller, input: StartRun): Promise<Run> {
  const { value, repeated } = await perform<Run, Wanted>(deps, caller, {
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
      ...(input.priority ? { priority: input.priority } : {}),
      metadata: input.metadata ?? null,
    },
    check: () => wantedOf(caller, input),
    change: (tx, wanted) => queueWanted(deps, tx, caller, input, wanted),
    again: (tx, { runId }) => requireRun(tx, String(runId)),
  });
  if (!repeated) await wakeWorkers(deps, value.id);
  return value;
}

async function queueWanted(
  deps: DomainDeps,
  tx: Connection,
  caller: Caller,
  input: StartRun,
  wanted: Wanted,
): Promise<Change<Run>> {
  await requireEnabledAgency(tx, caller);
  const pipeline = await resolvePipeline(tx, wanted);
  const payload = keptPayload(caller, pipeline, wanted);
  const inputRun = await stageInput(tx, pipeline, wanted.stage);
  const run = await queueRun(deps, tx, caller, {
    pipeline,
    stage: wanted.stage,
    inputRun,
    payload,
    reason: input.reason,
    priority: input.priority ?? 0,
    origin: null,
  });
  const ofPipeline = { pipeline: { name: pipeline.name, version: pipeline.version }, stage: wanted.stage, inputRun };
  return {
    value: run,
    resourceId: run.id,
    reference: { runId: run.id },
    after: { ...ofPipeline, payload: auditedPayload(deps, payload) },
  };
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
  requireNoCheckpoint(wanted.payload);
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
    metadata: { ...notes, pipeline: name },
  });
  return { name, purpose: null, stage: input.stage ?? 'FULL', payload };
}

function wantedByPayload(caller: Caller, input: StartRun): Wanted {
  const given = asObject(input.payload, 'payload');
  requireOwnAgency(caller, given['agency']);
  const payload = validateRunPayload({
    ...given,
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

function requireNoCheckpoint({ checkpoint_id }: Wanted['payload']): void {
  if (checkpoint_id !== null && checkpoint_id !== undefined) {
    throw new FluxError(
      'INVALID_INPUT',
      'A payload that names a checkpoint_id is not offered; fork the run instead: `forkRun`, or flux runs fork. Leave checkpoint_id out.',
    );
  }
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

/** The payload as the run keeps it: resolved, every field written out, by its public names. */
function keptPayload(caller: Caller, pipeline: Pipeline, { payload, stage }: Wanted): Required<RunPayload> {
  return {
    agency: caller.principal.agency,
    content_type: pipeline.contentType as RunPayload['content_type'],
    use_case: pipeline.useCase as RunPayload['use_case'],
    stage: stage.toLowerCase() as RunPayload['stage'],
    source: datedSource(payload.source ?? null, ownPath(pipeline), payload.metadata),
    checkpoint_id: null,
    dry_run: payload.dry_run,
    metadata: payload.metadata,
  };
}

function ownPath({ definition }: Pipeline): string {
  return (JSON.parse(definition) as { source: { path: string } }).source.path;
}
