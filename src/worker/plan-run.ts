import { appendAudit } from '../audit/append.ts';
import { findConnection } from '../db/connections.ts';
import { finishPartition, insertPartitions, setRunTotals } from '../db/partitions.ts';
import { stepStages } from '../db/run-vocabulary.ts';
import { insertSourceObject } from '../db/source-objects.ts';
import { FluxError } from '../errors.ts';
import type { PinnedObject, SourcePlan } from '../etl/engine-types.ts';
import { appendEvents, type NewRunEvent } from '../events/append.ts';
import { fenced, requireHeld } from './fenced.ts';
import { openLoad, type OpenedLoad } from './open-load.ts';
import type { Work } from './work.ts';

/** PLAN: pins the source, finds out what it holds, and cuts the run into partitions. All its writes are one transaction. */
export async function planRun(work: Work): Promise<void> {
  const signal = AbortSignal.any([work.lost, work.draining]);
  const object = await pin(work, signal);
  const { definition, contract, folder: workFolder } = work;
  const plan = await work.deps.engine.planSource({ definition, contract, object, workFolder, signal });
  await commitPlan(work, object, plan);
  work.deps.announcer.run(work.claim.runId);
  work.deps.announcer.work();
}

async function pin({ deps, holder, claim, definition }: Work, signal: AbortSignal): Promise<PinnedObject> {
  const { source } = definition;
  const connection = await findConnection(holder, source.connection);
  if (!connection)
    throw new FluxError(
      'SOURCE_INVALID',
      `Connection ${source.connection} does not exist. Register it, then start a new run.`,
    );
  const { name, kind, config } = connection;
  return deps.engine.pinSource({ agency: claim.agencyId, connection: { name, kind, config }, source, signal });
}

async function commitPlan(work: Work, object: PinnedObject, plan: SourcePlan): Promise<void> {
  const { claim, definition, run, deps } = work;
  await fenced(work, async (tx) => {
    await insertSourceObject(tx, claim, { ...object, connectionName: definition.source.connection });
    const load = await openLoad(tx, work, plan.columns);
    const partitions = plan.ranges.map((range, i) => ({ partitionNo: i + 1, kind: 'BATCHES' as const, range }));
    await insertPartitions(tx, claim, partitions);
    requireHeld(claim, await finishPartition(tx, claim, 'COMPLETED'));
    await appendAudit(tx, {
      actor: `worker:${deps.config.id}`,
      role: 'worker',
      action: 'run.plan',
      resourceType: 'run',
      resourceId: claim.runId,
      success: true,
      after: planData(object, plan, load),
      traceId: run.traceId,
    });
    await setRunTotals(tx, claim, { records: plan.recordsTotal, bytes: plan.bytesTotal });
    await appendEvents(tx, claim, planEvents(object, plan, load));
  });
}

function planEvents(object: PinnedObject, plan: SourcePlan, load: OpenedLoad): NewRunEvent[] {
  const size = plan.recordsTotal === null ? `${String(plan.bytesTotal)} bytes` : `${String(plan.recordsTotal)} records`;
  return [
    {
      name: 'PlanMade',
      message: `Source pinned: ${size} in ${String(plan.ranges.length)} partition${plan.ranges.length === 1 ? '' : 's'}.`,
      partitionNo: 0,
      data: planData(object, plan, load),
    },
    ...stepStages.map((stage): NewRunEvent => ({
      name: 'StageStarted',
      stage,
      message: `${stage} started.`,
      data: {},
    })),
  ];
}

function planData(object: PinnedObject, plan: SourcePlan, load: OpenedLoad): Record<string, unknown> {
  return {
    partitions: plan.ranges.length,
    recordsTotal: plan.recordsTotal,
    bytesTotal: plan.bytesTotal,
    sha256: object.sha256,
    origin: object.origin,
    dataset: load.dataset,
    load: Number(load.loadNo),
    steps: plan.steps.map(({ stage, step, kind }) => ({ stage, step, kind })),
  };
}
