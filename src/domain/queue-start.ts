import type { RunPayload } from '../contracts/documents.ts';
import { joinedDatasets } from '../contracts/joins.ts';
import { timeOrderedUuid } from '../crypto/random.ts';
import { currentPipelinesGuard, findCurrentPipelines, type Pipeline } from '../db/pipelines.ts';
import type { Connection, Pool, Queryable } from '../db/pool.ts';
import { newRunIds, type Run } from '../db/runs.ts';
import { together } from '../db/transaction.ts';
import type { SpanPlace } from '../telemetry/tracing.ts';
import type { Caller, DomainDeps } from './caller.ts';
import { requireJoinedDatasets } from './joined-datasets.ts';
import type { Change } from './perform.ts';
import type { Foreseen, Member, Plan } from './perform-together.ts';
import { type IdentifiedRun, prepareRuns, type QueuedRun, queueRun } from './queue-run.ts';
import { requireResolved, resolvePipeline, type Wanted } from './resolve-pipeline.ts';
import { requireEnabledAgency } from './run-control.ts';
import { auditedPayload } from './run-payload.ts';
import { datedSource } from './source-date.ts';
import { stageInput } from './stage-input.ts';

/** A request to start a run, checked as far as that needs no database. */
export interface Start extends Wanted {
  reason: string | null;
  priority: number;
  /** The span under which it was asked for. */
  place: SpanPlace | null;
}

export async function queueStart(
  deps: DomainDeps,
  tx: Connection,
  { caller, checked: start }: Member<Start>,
): Promise<Change<Run>> {
  const [, pipeline, ids] = await together(
    tx,
    () => requireEnabledAgency(tx, caller),
    () => resolvePipeline(tx, start),
    () => newRunIds(tx, 1),
  );
  const inputRun = await stageInput(tx, pipeline, start.stage);
  await requireJoinedDatasets(tx, pipeline, start.stage);
  const wanted = queuedRun(caller, start, { id: ids[0] as string, pipeline, inputRun });
  return { ...changeOf(deps, wanted), value: await queueRun(deps, tx, caller, wanted) };
}

/** Whose pipeline is named, and who reads no earlier run: what such requests ask the database is the same question. */
export function mayStartTogether({ name, stage }: Start): boolean {
  return name !== null && (stage === 'FULL' || stage === 'INGEST');
}

/** The pipelines that the members name, and an id for each. */
export interface ReadForStarts {
  pipelines: Pipeline[];
  ids: string[];
}

/** @param members of one agency and clearance, for all of which `mayStartTogether` holds */
export async function readForStarts(
  { pool }: DomainDeps,
  tx: Connection,
  members: readonly Member<Start>[],
): Promise<ReadForStarts> {
  const [first] = members as [Member<Start>];
  const names = [...new Set(members.map(({ checked }) => checked.name as string))];
  const [, pipelines, ids] = await together(
    tx,
    () => requireEnabledAgency(tx, first.caller),
    () => findCurrentPipelines(tx, names),
    () => newRunIds(tx, members.length),
  );
  const known = knownPipelines.get(pool) ?? new Map<string, Pipeline>();
  knownPipelines.set(pool, known);
  if (known.size >= knownMax) known.clear();
  for (const pipeline of pipelines) {
    // What it joins has to be asked for each time.
    const { transforms } = JSON.parse(pipeline.definition) as { transforms?: Parameters<typeof joinedDatasets>[0] };
    if (joinedDatasets(transforms).length === 0) known.set(knownName(first.caller, pipeline.name), pipeline);
  }
  return { pipelines, ids };
}

/** The pipelines that `readForStarts` has found, as it found them: what a version says never changes, only which one is current. */
const knownPipelines = new WeakMap<Pool, Map<string, Pipeline>>();
/** Definitions can be long. Beyond it they are read anew. */
const knownMax = 200;

function knownName({ principal }: Caller, name: string): string {
  return `${principal.agency}|${String(principal.clearance)}|${name}`;
}

/** What `readForStarts` would answer if nothing has changed since, with ids by this process's clock; null where it has not read it yet. */
export function foreseeStarts(
  { pool }: DomainDeps,
  members: readonly Member<Start>[],
): (() => Foreseen<ReadForStarts>) | null {
  const [first] = members as [Member<Start>];
  const names = [...new Set(members.map(({ checked }) => checked.name as string))];
  const pipelines = names.flatMap((name) => knownPipelines.get(pool)?.get(knownName(first.caller, name)) ?? []);
  if (pipelines.length < names.length) return null;
  return () => ({
    guard: currentPipelinesGuard(pipelines, Date.now()),
    read: { pipelines, ids: members.map(() => timeOrderedUuid()) },
  });
}

/** As `queueStart` for each. */
export async function planStarts(
  deps: DomainDeps,
  tx: Queryable,
  { pipelines, ids }: ReadForStarts,
  members: readonly Member<Start>[],
): Promise<Plan<Run>> {
  const byName = new Map(pipelines.map((pipeline) => [pipeline.name, pipeline]));
  const wanted: { caller: Caller; run: IdentifiedRun }[] = [];
  for (const [i, { caller, checked: start }] of members.entries()) {
    const pipeline = await requireResolved(tx, byName.get(start.name as string) ?? null, start);
    await requireJoinedDatasets(tx, pipeline, start.stage);
    wanted.push({ caller, run: queuedRun(caller, start, { id: ids[i] as string, pipeline, inputRun: null }) });
  }
  return { changes: wanted.map(({ run }) => changeOf(deps, run)), ...(await prepareRuns(deps, tx, wanted)) };
}

function queuedRun(
  caller: Caller,
  start: Start,
  found: Pick<QueuedRun, 'pipeline'> & { id: string; inputRun: string | null },
): IdentifiedRun {
  const { stage, reason, priority, place } = start;
  return {
    ...found,
    stage,
    payload: { ...keptPayload(caller, found.pipeline, start) },
    reason,
    priority,
    place,
    origin: null,
  };
}

function changeOf(
  deps: DomainDeps,
  { id, pipeline, stage, inputRun, payload }: IdentifiedRun,
): Omit<Change<Run>, 'value'> {
  const ofPipeline = { pipeline: { name: pipeline.name, version: pipeline.version }, stage, inputRun };
  return {
    resourceId: id,
    reference: { runId: id },
    after: { ...ofPipeline, payload: auditedPayload(deps, payload) },
  };
}

type KeptPayload = Required<Omit<RunPayload, 'full'>> & Pick<RunPayload, 'full'>;

/** The payload as the run keeps it: resolved, every field written out, by its public names. */
function keptPayload(caller: Caller, pipeline: Pipeline, { payload, stage }: Wanted): KeptPayload {
  return {
    agency: caller.principal.agency,
    content_type: pipeline.contentType as RunPayload['content_type'],
    use_case: pipeline.useCase as RunPayload['use_case'],
    stage: stage.toLowerCase() as RunPayload['stage'],
    source: datedSource(payload.source ?? null, ownPath(pipeline), payload.metadata),
    checkpoint_id: null,
    dry_run: payload.dry_run,
    ...(payload.full ? { full: true } : {}),
    metadata: payload.metadata,
  };
}

function ownPath({ definition }: Pipeline): string {
  return (JSON.parse(definition) as { source: { path: string } }).source.path;
}
