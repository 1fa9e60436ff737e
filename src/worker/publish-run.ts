import { appendAudit } from '../audit/append.ts';
import { cleanupExpiredCheckpoints } from '../db/checkpoints.ts';
import { countLoad } from '../db/lake.ts';
import { findLoad, lockDataset, publishLoad } from '../db/loads.ts';
import { finishPartition } from '../db/partitions.ts';
import type { Connection } from '../db/pool.ts';
import { countRejectedRecords } from '../db/rejected-records.ts';
import { lockClaimed } from '../db/reprocessing.ts';
import { countPartRecords } from '../db/run-parts.ts';
import { sumStepCounts, type StepTotal } from '../db/step-counts.ts';
import { FluxError } from '../errors.ts';
import { appendEvents, type NewRunEvent } from '../events/append.ts';
import { metrics } from '../telemetry/metrics.ts';
import { fenced, requireHeld } from './fenced.ts';
import { passedOver, requireNewest } from './increment.ts';
import { landReprocessed } from './land-reprocessed.ts';
import { placeLoad, type Placement } from './place-load.ts';
import { type PrivacyProof, proveMergedPrivacy, provePrivacy } from './prove-privacy.ts';
import { stagesOf } from './plan-data.ts';
import { tooManyRejected } from './run-batches.ts';
import { findDifferences, sumOf } from './reconcile.ts';
import { writesParts } from './stage-input.ts';
import type { Work } from './work.ts';

/** What a run did in all. */
interface Totals {
  read: number;
  written: number;
  rejected: number;
  /** With those that were passed over. */
  filtered: number;
  /** Of these, what an earlier run had read; absent where all is read. */
  passedOver?: number;
}

/** The load that became visible; null where a stage leaves parts behind. */
type Published = (Placement & { dataset: string; load: number; mode: string }) | null;

interface Ended {
  totals: Totals;
  published: Published;
  /** What sterilisation promised, proved on the load. */
  privacy?: PrivacyProof[];
}

/**
 * PUBLISH: proves that every record is accounted for, then shows the whole load, or lets the next stage see the parts, and ends
 * the run, in one transaction.
 *
 * @throws NOT_RECONCILED the counts do not add up
 * @throws PRIVACY_NOT_HELD the load holds a group or a cell that is too small
 * @throws CONTRACT_VIOLATED more records were rejected than the pipeline allows
 * @throws RUN_CONFLICT, DESTINATION_CONFLICT reprocessing: another run holds the records, or the dataset has lost the first load
 */
export async function publishRun(work: Work): Promise<void> {
  const { claim, deps, run } = work;
  await fenced(work, async (tx) => {
    const steps = await sumStepCounts(tx, claim);
    const {
      totals,
      published,
      privacy = [],
    } = writesParts(work) ? await closeParts(tx, work, steps) : await publishOpenLoad(tx, work, steps);
    requireHeld(claim, await finishPartition(tx, claim, 'COMPLETED'));
    await appendAudit(tx, {
      actor: `worker:${deps.config.id}`,
      role: 'worker',
      action: 'run.complete',
      resourceType: 'run',
      resourceId: claim.runId,
      success: true,
      after: { ...totals, published, ...(privacy.length > 0 ? { privacy } : {}) },
      traceId: run.traceId,
    });
    await appendEvents(tx, claim, endingEvents(work, steps, { totals, published, privacy }), {
      from: ['IN_PROGRESS'],
      to: 'COMPLETED',
      finishes: true,
    });
  });
  metrics.runs.inc({ status: 'COMPLETED' });
  deps.log.info({}, 'a run is completed');
  deps.announcer.run(claim.runId);
  await tidy(work);
}

/** Partitions whose expired checkpoints one run's end removes: more than a run adds, and a short statement still. */
const tidyLimit = 200;

/** Each completed run clears away what has expired of its agency. The run is over, so a failure here fails nothing. */
async function tidy({ holder, deps }: Work): Promise<void> {
  await cleanupExpiredCheckpoints(holder, tidyLimit).catch((err: unknown) =>
    deps.log.warn({ err }, 'expired checkpoints could not be removed'),
  );
}

async function closeParts(tx: Connection, work: Work, steps: StepTotal[]): Promise<Ended> {
  const totals = await requireReconciled(tx, work, steps, await countPartRecords(tx, work.claim));
  requireContractHeld(work, totals);
  return { totals, published: null };
}

async function publishOpenLoad(tx: Connection, work: Work, steps: StepTotal[]): Promise<Ended> {
  const { claim, run, lake, definition } = work;
  const load = await findLoad(tx, claim);
  if (!load) throw new FluxError('INTERNAL', `Run ${claim.runId} has no load to publish.`);
  await lockDataset(tx, claim, load.dataset);
  await requireNewest(tx, work);
  const table = { schema: lake, dataset: load.dataset, loadNo: load.loadNo };
  const totals = await requireReconciled(tx, work, steps, await countLoad(tx, table));
  let mode = load.mode;
  if (run.reprocessOf === null) requireContractHeld(work, totals);
  else {
    await landReprocessed(tx, work, run.reprocessOf, totals);
    // Its records belong beside those of the first run, not in their place.
    if (mode === 'replace') mode = 'append';
  }
  const privacy = await provePrivacy(tx, definition, { table, columns: load.columns, steps });
  const placement = await placeLoad(tx, work, table, mode);
  if (mode === 'merge') await proveMergedPrivacy(tx, definition, { table, columns: load.columns });
  requireHeld(claim, await publishLoad(tx, claim, totals.written - placement.duplicates));
  return { totals, published: { dataset: load.dataset, load: Number(load.loadNo), mode, ...placement }, privacy };
}

async function requireReconciled(tx: Connection, work: Work, steps: StepTotal[], destination: number): Promise<Totals> {
  const { claim, run } = work;
  const rejected =
    run.reprocessOf === null
      ? await countRejectedRecords(tx, claim)
      : (await lockClaimed(tx, claim, run.reprocessOf)).refused;
  const recordsTotal = run.recordsTotal === null ? null : Number(run.recordsTotal);
  const differences = findDifferences({ steps, recordsTotal, destination, rejected });
  if (differences.length > 0) {
    throw new FluxError(
      'NOT_RECONCILED',
      `The run does not add up: ${differences.join('; ')}. Nothing was published.`,
      {
        details: { runId: claim.runId, differences },
      },
    );
  }
  const passes = steps.some(({ stage, kind }) => stage === 'INGEST' && kind === 'filter');
  return {
    read: steps[0]?.recordsIn ?? 0,
    written: destination,
    rejected,
    filtered: sumOf(steps, 'recordsFiltered'),
    ...(passes ? { passedOver: passedOver(steps) } : {}),
  };
}

function requireContractHeld({ definition, claim }: Work, { rejected, ...totals }: Totals): void {
  // Old records would thin out the share of the new ones that broke the contract.
  const read = totals.read - (totals.passedOver ?? 0);
  const contract = definition.contract;
  if (!contract) return;
  const { maxRejectedCount } = contract;
  if (maxRejectedCount !== undefined && rejected > maxRejectedCount)
    throw tooManyRejected(contract, rejected, maxRejectedCount);
  const freezes = contract.onViolation === 'fail' || contract.onViolation === 'freeze';
  const allowed = freezes && !contract.rules?.length ? 0 : (contract.maxRejectedRatio ?? 1);
  const ratio = read === 0 ? 0 : rejected / read;
  if (ratio <= allowed) return;
  throw new FluxError(
    'CONTRACT_VIOLATED',
    `${String(rejected)} of ${String(read)} records (${percent(ratio)}) broke contract ${contract.name} ${String(contract.version)}; ` +
      `the pipeline allows ${percent(allowed)}. Nothing was published. See the rejected records.`,
    { details: { runId: claim.runId, rejected, read, allowed } },
  );
}

function percent(ratio: number): string {
  return `${String(Number((ratio * 100).toPrecision(4)))} %`;
}

function endingEvents(
  { claim, run }: Work,
  steps: readonly StepTotal[],
  { totals, published, privacy = [] }: Ended,
): NewRunEvent[] {
  const { read, written, rejected, filtered, passedOver: over } = totals;
  const passed = over === undefined ? '' : ` (${String(over)} read before)`;
  const counted = `${String(read)} read, ${String(written)} written, ${String(rejected)} rejected, ${String(filtered)} filtered${passed}`;
  return [
    ...stagesOf(run).map((stage): NewRunEvent => ({
      name: 'StageCompleted',
      stage,
      message: `${stage} completed.`,
      data: { steps: steps.filter((step) => step.stage === stage) },
    })),
    ...(published
      ? [
          {
            name: 'LoadPublished',
            stage: 'EXPORT',
            message: `Load ${String(published.load)} of ${published.dataset} is visible.`,
            partitionNo: claim.partitionNo,
            data: { ...published, records: written - published.duplicates },
          } satisfies NewRunEvent,
        ]
      : []),
    {
      name: 'RunCompleted',
      message: `Run of ${run.pipelineName} completed: ${counted}.`,
      data: { ...totals, reconciled: true, ...(privacy.length > 0 ? { privacy } : {}) },
    },
  ];
}
