import { appendAudit } from '../audit/append.ts';
import { findDataset } from '../db/datasets.ts';
import type { DatasetColumn } from '../db/loads.ts';
import { finishPartition, insertPartitions, setRunTotals } from '../db/partitions.ts';
import { setStagedColumns } from '../db/run-parts.ts';
import { insertReferences, type RunReference } from '../db/run-references.ts';
import { findPreviousSha256, findSourceObject, insertSourceObject, type SourceObject } from '../db/source-objects.ts';
import type { SourcePlan } from '../etl/engine-types.ts';
import { evolves } from '../etl/evolved-contract.ts';
import { refusesPersonalData } from '../etl/refuse-personal-data.ts';
import { appendEvents } from '../events/append.ts';
import { fenced, requireHeld } from './fenced.ts';
import { sinceOf } from './increment.ts';
import { objectKeys } from './object-keys.ts';
import { openLoad } from './open-load.ts';
import { pinSource } from './pin-source.ts';
import { planData, planEvents } from './plan-data.ts';
import { planDryRun } from './plan-dry-run.ts';
import { forkPointOf, planFork } from './plan-fork.ts';
import { planReprocess } from './plan-reprocess.ts';
import { pinReferences, referenceData } from './references.ts';
import { stagedInputOf } from './stage-input.ts';
import type { Work } from './work.ts';

/**
 * PLAN: pins the source or finds the parts of the stage before, finds out what they hold, and cuts the run into partitions. All
 * its writes are one transaction.
 */
export async function planRun(work: Work): Promise<void> {
  if (work.run.payload['dry_run'] === true) return planDryRun(work);
  const forkPoint = forkPointOf(work);
  if (forkPoint) return planFork(work, forkPoint);
  if (work.run.reprocessOf !== null) return planReprocess(work, work.run.reprocessOf);
  const signal = AbortSignal.any([work.lost, work.draining, work.closing]);
  const staged = await stagedInputOf(work, { parts: true });
  const { definition, contract, folder: workFolder, run, claim } = work;
  const known = {
    runId: work.claim.runId,
    definition,
    contract,
    stage: run.stage,
    staged,
    dataKeyOf: objectKeys(work),
    workFolder,
    signal,
    // A look at what would be loaded hashes as the run does; a plan without one needs no salts.
    ...(refusesPersonalData(definition, run.stage) ? { agency: claim.agencyId } : {}),
  };
  const object = staged ? null : ((await pinnedBefore(work)) ?? (await pinSource(work, known)));
  const pinned = await pinReferences(work, work.run.rerunOf, signal);
  const request = {
    ...known,
    object,
    references: pinned.references,
    ...(object ? await sinceOf(work, object) : {}),
    ...(evolves(definition) ? { dataset: await columnsOf(work) } : {}),
  };
  const plan = await work.deps.engine.planSource(request);
  const before = object && (await findPreviousSha256(work.holder, work.claim, run.pipelineName));
  const references = await pinned.store();
  const told = object && { ...object, increment: plan.increment ?? object.increment ?? null };
  await commitPlan(work, { object: told, before, references }, plan);
  work.deps.announcer.run(work.claim.runId);
  work.deps.announcer.work();
}

/** What the dataset holds before the run. */
async function columnsOf({ holder, definition }: Work): Promise<readonly DatasetColumn[]> {
  return (await findDataset(holder, definition.destination.dataset))?.columns ?? [];
}

/** A rerun reads the very bytes of the first run, if that came so far: the same inputs. */
async function pinnedBefore({ holder, claim, run }: Work): Promise<SourceObject | null> {
  return run.rerunOf === null ? null : findSourceObject(holder, { ...claim, runId: run.rerunOf });
}

async function commitPlan(
  work: Work,
  {
    object,
    before,
    references,
  }: { object: SourceObject | null; before: string | null; references: readonly RunReference[] },
  plan: SourcePlan,
): Promise<void> {
  const { claim, run, deps } = work;
  await fenced(work, async (tx) => {
    if (object) await insertSourceObject(tx, claim, object);
    await insertReferences(tx, claim, references);
    const load = plan.staged ? null : await openLoad(tx, work, plan.columns);
    const partitions = plan.ranges.map((range, i) => ({ partitionNo: i + 1, kind: 'BATCHES' as const, range }));
    await insertPartitions(tx, claim, partitions);
    requireHeld(claim, await finishPartition(tx, claim, 'COMPLETED'));
    const data = { ...planData(run, { object, before, plan, load }), ...referenceData(references) };
    await appendAudit(tx, {
      actor: `worker:${deps.config.id}`,
      role: 'worker',
      action: 'run.plan',
      resourceType: 'run',
      resourceId: claim.runId,
      success: true,
      after: data,
      traceId: run.traceId,
    });
    if (plan.staged) await setStagedColumns(tx, claim, [...plan.staged]);
    await setRunTotals(tx, claim, { records: plan.recordsTotal, bytes: plan.bytesTotal });
    await appendEvents(tx, claim, planEvents(run, plan, data));
  });
}
