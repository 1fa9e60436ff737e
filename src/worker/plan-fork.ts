import { appendAudit } from '../audit/append.ts';
import { decodeCheckpoint, type Definitions } from '../checkpoint/body.ts';
import type { Position } from '../checkpoint/position.ts';
import { savePosition } from '../checkpoint/save.ts';
import {
  copyLoadRows,
  copyRejectedRecords,
  type ForkedPartition,
  type ForkedPlan,
  placePartition,
  readForkedPartitions,
  readForkedPlan,
} from '../db/forks.ts';
import { finishPartition, insertPartitions, insertPublishWhenDone, lockRun, setRunTotals } from '../db/partitions.ts';
import type { Connection } from '../db/pool.ts';
import { findRun } from '../db/runs.ts';
import { listRanges } from '../db/reprocessing.ts';
import { findSourceObject, insertSourceObject, type SourceObject } from '../db/source-objects.ts';
import { setStepCounts } from '../db/step-counts.ts';
import { FluxError } from '../errors.ts';
import type { SourcePlan } from '../etl/engine-types.ts';
import { refusesPersonalData } from '../etl/refuse-personal-data.ts';
import { appendEvents, type NewRunEvent } from '../events/append.ts';
import { fenced, requireHeld } from './fenced.ts';
import { openLoad, type OpenedLoad } from './open-load.ts';
import { planData, planEvents } from './plan-data.ts';
import { objectKeys } from './object-keys.ts';
import { pinReferences, referenceData, takeReferences } from './references.ts';
import type { Work } from './work.ts';

/** The checkpoint that a run goes on from. */
export interface ForkPoint {
  runId: string;
  partitionNo: number;
  version: number;
}

export function forkPointOf({ run }: Pick<Work, 'run'>): ForkPoint | null {
  const { forkedFrom, forkedPartition, forkedVersion } = run;
  if (forkedFrom === null || forkedPartition === null || forkedVersion === null) return null;
  return { runId: forkedFrom, partitionNo: forkedPartition, version: forkedVersion };
}

/**
 * PLAN of a forked run: takes over the source, the cut, and of every partition what had been committed when the checkpoint was
 * saved: rows, rejected records, counts and position, which becomes its first checkpoint here. One transaction.
 *
 * @throws PERSONAL_DATA_FOUND the pipeline refuses what its first records seem to hold
 * @throws CHECKPOINT_MISSING, CHECKPOINT_INCOMPATIBLE what it stands for is not there any more
 */
export async function planFork(work: Work, point: ForkPoint): Promise<void> {
  const { claim, deps, holder, run } = work;
  const first = { agencyId: claim.agencyId, runId: point.runId };
  const [object, forked] = [
    await findSourceObject(holder, { ...claim, runId: point.runId }),
    await readForkedPlan(holder, point.runId),
  ];
  if (!object || !forked) throw gone(point, 'the run has no plan');
  await requireNoPersonalData(work, object, point);
  await fenced(work, async (tx) => {
    const partitions = await readForkedPartitions(tx, first, point);
    requireChosen(partitions, point);
    await insertSourceObject(tx, claim, object);
    const references = await takeReferences(tx, work, point.runId);
    const load = await openLoad(tx, work, forked.columns);
    await insertPartitions(
      tx,
      claim,
      partitions.map(({ partitionNo, range }) => ({ partitionNo, kind: 'BATCHES' as const, range })),
    );
    const taken: NewRunEvent[] = [];
    const definitions = await definitionsOf(tx, work, point);
    const fork = { point, forked, load, definitions };
    for (const partition of partitions) taken.push(...(await takeOver(tx, work, fork, partition)));
    requireHeld(claim, await finishPartition(tx, claim, 'COMPLETED'));
    const plan = planOf(forked, partitions);
    const data = { ...planData(run, { object, plan, load }), ...referenceData(references) };
    await appendAudit(tx, {
      actor: `worker:${deps.config.id}`,
      role: 'worker',
      action: 'run.plan',
      resourceType: 'run',
      resourceId: claim.runId,
      success: true,
      after: { ...data, forkedFrom: point },
      traceId: run.traceId,
    });
    await lockRun(tx, claim);
    await insertPublishWhenDone(tx, claim);
    await setRunTotals(tx, claim, { records: plan.recordsTotal, bytes: plan.bytesTotal });
    await appendEvents(tx, claim, [...planEvents(run, plan, data), ...taken]);
  });
  deps.announcer.run(claim.runId);
  deps.announcer.work();
}

/** The pipeline may have come to refuse what the first run was not asked about. */
async function requireNoPersonalData(work: Work, object: SourceObject, { runId }: ForkPoint): Promise<void> {
  const { claim, deps, holder, run, definition, contract, folder: workFolder } = work;
  if (!refusesPersonalData(definition, run.stage)) return;
  const signal = AbortSignal.any([work.lost, work.draining, work.closing]);
  const { agencyId: agency } = claim;
  const { references } = await pinReferences(work, runId, signal);
  const [first] = await listRanges(holder, { agencyId: agency, runId });
  const reading = { agency, definition, contract, stage: run.stage, object, references, workFolder, signal };
  await deps.engine.requireNoPersonalData({ ...reading, dataKeyOf: objectKeys(work) }, first);
}

function planOf(
  { recordsTotal, bytesTotal, plan, columns }: ForkedPlan,
  partitions: readonly ForkedPartition[],
): SourcePlan {
  return {
    recordsTotal: recordsTotal === null ? null : Number(recordsTotal),
    bytesTotal: Number(bytesTotal ?? 0n),
    columns: columns as SourcePlan['columns'],
    steps: (plan.steps ?? []) as SourcePlan['steps'],
    ranges: partitions.map(({ range }) => range),
  };
}

interface Fork {
  point: ForkPoint;
  forked: ForkedPlan;
  load: OpenedLoad;
  /** Under which the first run's checkpoints were written. */
  definitions: Definitions;
}

/** The run may have a newer version of the pipeline, which does the same: domain/fork-run.ts compares them. */
async function definitionsOf(tx: Connection, { definitions }: Work, point: ForkPoint): Promise<Definitions> {
  const first = await findRun(tx, point.runId);
  if (!first) throw gone(point, 'the run is not kept any more');
  return { ...definitions, pipeline: { name: first.pipelineName, version: first.pipelineVersion } };
}

/** What a partition had done becomes one batch here. @returns the events that say so; none when it had done nothing */
async function takeOver(
  tx: Connection,
  work: Work,
  fork: Fork,
  { partitionNo, checkpoint, span }: ForkedPartition,
): Promise<NewRunEvent[]> {
  if (!checkpoint) return [];
  const claim = { ...work.claim, partitionNo, epoch: 0 };
  const position: Position = {
    ...decodeCheckpoint(checkpoint, fork.definitions),
    version: 1,
    hash: null,
    lastEvent: null,
  };
  await copyRecords(tx, work, fork, { partitionNo, span, position });
  await setStepCounts(tx, claim, position.steps);
  const last = checkpoint.status === 'COMPLETED';
  const saved = await savePosition(tx, claim, position, { definitions: work.definitions, last });
  await placePartition(tx, claim, position.counts, { completed: last });
  const { read, written, rejected, filtered, bytes } = position.counts;
  const of = `partition ${String(partitionNo)}`;
  return [
    {
      name: 'BatchCommitted',
      message: `Batch 1 of ${of}, taken over up to checkpoint ${String(checkpoint.version)}: ${String(read)} read, ${String(written)} written.`,
      partitionNo,
      data: {
        partition: partitionNo,
        epoch: 0,
        batch: 1,
        firstRecord: span === null ? null : Number(span.first),
        lastRecord: span === null ? null : Number(span.last),
        ...{ read, written, rejected, filtered, bytes, last },
        takenOverFrom: { run: fork.point.runId, version: checkpoint.version },
      },
    },
    {
      name: 'CheckpointSaved',
      message: `Checkpoint 1 of ${of} saved.`,
      partitionNo,
      data: {
        partition: partitionNo,
        version: 1,
        checkpointId: saved.checkpointId,
        hash: saved.hash.toString('hex'),
      },
    },
  ];
}

async function copyRecords(
  tx: Connection,
  work: Work,
  { point, forked, load }: Fork,
  { partitionNo, span, position }: { partitionNo: number; span: ForkedPartition['span']; position: Position },
): Promise<void> {
  const claim = { ...work.claim, partitionNo };
  const table = { schema: work.lake, dataset: load.dataset, columns: forked.columns.map(({ name }) => name) };
  const loads = { from: forked.loadNo, to: load.loadNo };
  const written = span ? await copyLoadRows(tx, table, loads, span) : 0;
  const rejected = span ? await copyRejectedRecords(tx, claim, point.runId, span) : 0;
  const { counts } = position;
  if (written === counts.written && rejected === counts.rejected) return;
  throw gone(
    point,
    `partition ${String(partitionNo)} had ${String(counts.written)} records and ${String(counts.rejected)} rejected ones, and ` +
      `${String(written)} and ${String(rejected)} are left`,
  );
}

function requireChosen(partitions: readonly ForkedPartition[], point: ForkPoint): void {
  const chosen = partitions.find(({ partitionNo }) => partitionNo === point.partitionNo);
  if (chosen?.checkpoint?.version !== point.version) throw gone(point, 'the checkpoint does not verify any more');
}

function gone({ runId, partitionNo, version }: ForkPoint, why: string): FluxError {
  return new FluxError(
    'CHECKPOINT_MISSING',
    `Checkpoint ${String(version)} of partition ${String(partitionNo)} of run ${runId} cannot be gone on from: ${why}. Rerun the run.`,
    { details: { runId } },
  );
}
