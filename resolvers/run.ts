import type { Pipeline } from '../src/db/pipelines.ts';
import { readDryRunPlan } from '../src/db/run-parts.ts';
import type { RunPartition } from '../src/db/run-partitions-read.ts';
import { countRuns, findRun, listRuns, type Run, type RunFilter } from '../src/db/runs.ts';
import type { LoadOfRun } from '../src/db/step-counts-read.ts';
import type { DryRunPlan } from '../src/domain/dry-run.ts';
import { progressOf, type RunProgress } from '../src/domain/progress.ts';
import { reconcile, type Reconciliation } from '../src/domain/reconciliation.ts';
import { readPayload } from '../src/domain/run-payload.ts';
import type { RunStage, RunStatus } from '../src/domain/run.ts';
import { startRun as start } from '../src/domain/start-run.ts';
import { type Context, read } from './context.ts';
import { type Page, type PageArgs, pageOf } from './cursor.ts';
import { checkpointIdOf, runIdOf } from './ids.ts';

export type { RunPartition } from '../src/db/run-partitions-read.ts';
export type { Run } from '../src/db/runs.ts';
export type { LoadOfRun, StepTotals } from '../src/db/step-counts-read.ts';

export async function run(ctx: Context, id: string): Promise<Run | null> {
  const runId = runIdOf(id);
  return runId === null ? null : read(ctx, (tx) => findRun(tx, runId));
}

export interface RunFilterArgs {
  status?: readonly RunStatus[] | null | undefined;
  pipeline?: string | null | undefined;
  contentType?: string | null | undefined;
  useCase?: string | null | undefined;
  createdAfter?: Date | null | undefined;
  createdBefore?: Date | null | undefined;
}

/** A page that knows what it is a page of. */
export interface RunPage extends Page<Run> {
  filter: RunFilter;
}

export interface RunsArgs extends PageArgs {
  filter?: RunFilterArgs | null | undefined;
  orderBy?: { direction: 'ASC' | 'DESC' } | null | undefined;
}

export async function runs(ctx: Context, { filter, orderBy, ...args }: RunsArgs): Promise<RunPage> {
  const descending = orderBy?.direction !== 'ASC';
  const page = await pageOf(ctx, `runs:${descending ? 'desc' : 'asc'}`, args, {
    read: (position, limit, backward) =>
      read(ctx, (tx) =>
        listRuns(tx, {
          filter: toFilter(filter ?? {}),
          descending: descending !== backward,
          after: position?.[0] ?? null,
          limit,
        }),
      ),
    positionOf: ({ id }) => [id],
  });
  return { ...page, filter: toFilter(filter ?? {}) };
}

/** How many runs the filter of a page finds, the pages around it included; null when they are too many to count quickly. */
export function totalCount(ctx: Context, { filter }: Pick<RunPage, 'filter'>): Promise<bigint | null> {
  return read(ctx, (tx) => countRuns(tx, filter));
}

export function toFilter({
  status,
  pipeline,
  contentType,
  useCase,
  createdAfter,
  createdBefore,
}: RunFilterArgs): RunFilter {
  return {
    statuses: status ?? undefined,
    pipeline: pipeline ?? undefined,
    contentType: contentType ?? undefined,
    useCase: useCase ?? undefined,
    createdAfter: createdAfter ?? undefined,
    createdBefore: createdBefore ?? undefined,
  };
}

export interface StartRunArgs {
  pipeline?: string | null | undefined;
  payload?: unknown;
  stage?: RunStage | null | undefined;
  dryRun?: boolean | null | undefined;
  full?: boolean | null | undefined;
  priority?: number | null | undefined;
  metadata?: unknown;
  reason?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export function startRun(ctx: Context, input: StartRunArgs): Promise<Run> {
  return start(ctx.api, ctx, {
    pipeline: input.pipeline ?? null,
    payload: withPlainCheckpoint(input.payload ?? null),
    stage: input.stage ?? null,
    dryRun: input.dryRun ?? null,
    full: input.full ?? null,
    priority: input.priority ?? null,
    metadata: input.metadata ?? null,
    reason: input.reason ?? null,
    idempotencyKey: input.idempotencyKey ?? null,
  });
}

/** A payload may name its checkpoint by the global id. */
function withPlainCheckpoint(payload: unknown): unknown {
  if (typeof payload !== 'object' || payload === null) return payload;
  const id = (payload as Record<string, unknown>)['checkpoint_id'];
  return typeof id === 'string' ? { ...payload, checkpoint_id: checkpointIdOf(id) ?? id } : payload;
}

export function payloadOf(ctx: Context, run: Run): Promise<Record<string, unknown>> {
  // A page of runs asks for as many payloads; only a key that is not known yet needs the database.
  return readPayload(ctx.api, { query: (query) => read(ctx, (tx) => tx.query(query)) }, run);
}

export async function dryRunPlanOf(ctx: Context, { id, payload }: Run): Promise<DryRunPlan | null> {
  if (payload['dry_run'] !== true) return null;
  return (await read(ctx, (tx) => readDryRunPlan(tx, id))) as DryRunPlan | null;
}

export function pipelineOf(ctx: Context, { pipelineName, pipelineVersion }: Run): Promise<Pipeline | null> {
  return ctx.loaders.pipeline(pipelineName, pipelineVersion);
}

export function partitionsOf(ctx: Context, { id }: Run): Promise<RunPartition[]> {
  return ctx.loaders.partitions(id);
}

export function loadOf(ctx: Context, { id }: Run): Promise<LoadOfRun | null> {
  return ctx.loaders.load(id);
}

export async function progressOfRun(ctx: Context, { id }: Run): Promise<RunProgress | null> {
  const totals = await ctx.loaders.totals(id);
  return totals && progressOf(totals);
}

export async function reconciliationOf(ctx: Context, { id }: Run): Promise<Reconciliation | null> {
  const [steps, load] = await Promise.all([ctx.loaders.steps(id), ctx.loaders.load(id)]);
  return reconcile(steps, load);
}
