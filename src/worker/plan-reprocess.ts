import { appendAudit } from '../audit/append.ts';
import { finishPartition, insertPartitions, setRunTotals } from '../db/partitions.ts';
import { claimRejected, listOpenRejected, listRanges } from '../db/reprocessing.ts';
import { insertReferences } from '../db/run-references.ts';
import { findSourceObject, insertSourceObject } from '../db/source-objects.ts';
import { FluxError } from '../errors.ts';
import type { SourcePlan } from '../etl/engine-types.ts';
import type { EvolvedField } from '../etl/evolved-contract.ts';
import { refusesPersonalData } from '../etl/refuse-personal-data.ts';
import { appendEvents } from '../events/append.ts';
import { fenced, requireHeld } from './fenced.ts';
import { objectKeys } from './object-keys.ts';
import { openLoad } from './open-load.ts';
import { planData, planEvents } from './plan-data.ts';
import { pinReferences, referenceData } from './references.ts';
import type { Work } from './work.ts';

/** As many as planning looks at. */
const sampleRecords = 10_000;

/**
 * PLAN of a run that reprocesses rejected records: takes those that are open for itself, and cuts them into ranges by their places
 * in the source that the first run pinned. One transaction.
 *
 * @throws PERSONAL_DATA_FOUND the pipeline refuses what they seem to hold
 * @throws RUN_CONFLICT all of them have landed meanwhile, or another run holds them
 */
export async function planReprocess(work: Work, firstRun: string): Promise<void> {
  const { claim, deps, holder, run, definition, contract, folder: workFolder } = work;
  const first = { agencyId: claim.agencyId, runId: firstRun };
  const object = await findSourceObject(holder, { ...claim, runId: firstRun });
  if (!object) throw new FluxError('INTERNAL', `Run ${firstRun} has rejected records but no pinned source.`);
  const signal = AbortSignal.any([work.lost, work.draining, work.closing]);
  const dataKeyOf = objectKeys(work);
  const pinned = await pinReferences(work, firstRun, signal);
  const { references } = pinned;
  const ranges = await listRanges(holder, first);
  const evolved = evolvedIn(ranges);
  const request = { definition, contract, object, references, dataKeyOf, workFolder, signal, ...evolved };
  const shape = await deps.engine.describeOutput(request);
  if (refusesPersonalData(definition)) {
    const open = await listOpenRejected(holder, first, sampleRecords);
    const [range] = open.length > 0 ? deps.engine.cutRecords({ source: definition.source, records: open, ranges }) : [];
    const sampled = range && { ...range, ...evolved };
    await deps.engine.requireNoPersonalData({ ...request, agency: claim.agencyId }, sampled);
  }
  const stored = await pinned.store();
  await fenced(work, async (tx) => {
    const records = await claimRejected(tx, claim, firstRun);
    if (records.length === 0) throw nothingLeft(firstRun);
    await insertSourceObject(tx, claim, object);
    await insertReferences(tx, claim, stored);
    const load = await openLoad(tx, work, shape.columns);
    const cut = deps.engine.cutRecords({ source: definition.source, records, ranges });
    const plan: SourcePlan = {
      ...shape,
      recordsTotal: records.length,
      bytesTotal: object.byteCount,
      ranges: cut.map((range) => ({ ...range, ...evolved })),
    };
    const partitions = plan.ranges.map((range, i) => ({ partitionNo: i + 1, kind: 'BATCHES' as const, range }));
    await insertPartitions(tx, claim, partitions);
    requireHeld(claim, await finishPartition(tx, claim, 'COMPLETED'));
    const data = { ...planData(run, { object, plan, load }), ...referenceData(stored), reprocessOf: firstRun };
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
    // How much of the source lies between the records is not known, so there is no share of its bytes.
    await setRunTotals(tx, claim, { records: records.length, bytes: object.byteCount });
    await appendEvents(tx, claim, planEvents(run, plan, data));
  });
  deps.announcer.run(claim.runId);
  deps.announcer.work();
}

/** Fields that the first run has found besides its contract's; they are the same bytes. */
function evolvedIn([first]: SourcePlan['ranges']): { evolved?: readonly EvolvedField[] } {
  const evolved = first?.['evolved'] as readonly EvolvedField[] | undefined;
  return evolved ? { evolved } : {};
}

function nothingLeft(runId: string): FluxError {
  return new FluxError(
    'RUN_CONFLICT',
    `No rejected record of run ${runId} is left to reprocess: all have landed, or another run holds them.`,
    { details: { runId } },
  );
}
