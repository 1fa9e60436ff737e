import { appendAudit } from '../audit/append.ts';
import { findConnection } from '../db/connections.ts';
import { finishPartition, insertPartitions, setRunTotals } from '../db/partitions.ts';
import { findSourceObject, insertSourceObject, type SourceObject } from '../db/source-objects.ts';
import { FluxError } from '../errors.ts';
import type { SourcePlan } from '../etl/engine-types.ts';
import { appendEvents } from '../events/append.ts';
import { fenced, requireHeld } from './fenced.ts';
import { objectKeys } from './object-keys.ts';
import { openLoad } from './open-load.ts';
import { planData, planEvents } from './plan-data.ts';
import { forkPointOf, planFork } from './plan-fork.ts';
import type { Work } from './work.ts';

/** PLAN: pins the source, finds out what it holds, and cuts the run into partitions. All its writes are one transaction. */
export async function planRun(work: Work): Promise<void> {
  const forkPoint = forkPointOf(work);
  if (forkPoint) return planFork(work, forkPoint);
  const signal = AbortSignal.any([work.lost, work.draining, work.closing]);
  const object = (await pinnedBefore(work)) ?? (await pin(work, signal));
  const { definition, contract, folder: workFolder } = work;
  const dataKeyOf = objectKeys(work);
  const plan = await work.deps.engine.planSource({ definition, contract, object, dataKeyOf, workFolder, signal });
  await commitPlan(work, object, plan);
  work.deps.announcer.run(work.claim.runId);
  work.deps.announcer.work();
}

/** A rerun reads the very bytes of the first run, if that came so far: the same inputs. */
async function pinnedBefore({ holder, claim, run }: Work): Promise<SourceObject | null> {
  return run.rerunOf === null ? null : findSourceObject(holder, { ...claim, runId: run.rerunOf });
}

async function pin({ deps, holder, claim, definition }: Work, signal: AbortSignal): Promise<SourceObject> {
  const { source } = definition;
  const connection = await findConnection(holder, source.connection);
  if (!connection)
    throw new FluxError(
      'SOURCE_INVALID',
      `Connection ${source.connection} does not exist. Register it, then start a new run.`,
    );
  const { name, kind, config } = connection;
  const dataKey = deps.keys?.seals ? await deps.keys.newest(holder, claim.agencyId, 'objects') : null;
  const request = { agency: claim.agencyId, connection: { name, kind, config }, source, dataKey, signal };
  return { ...(await deps.engine.pinSource(request)), connectionName: name };
}

async function commitPlan(work: Work, object: SourceObject, plan: SourcePlan): Promise<void> {
  const { claim, run, deps } = work;
  await fenced(work, async (tx) => {
    await insertSourceObject(tx, claim, object);
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
