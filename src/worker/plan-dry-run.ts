import { appendAudit } from '../audit/append.ts';
import { type DatasetState, findDataset } from '../db/datasets.ts';
import type { DatasetColumn } from '../db/loads.ts';
import { finishPartition } from '../db/partitions.ts';
import { setDryRunPlan } from '../db/run-parts.ts';
import type { DryRunPlan, DryRunDestination } from '../domain/dry-run.ts';
import type { DryRunReport, Since } from '../etl/engine-types.ts';
import { appendEvents } from '../events/append.ts';
import { metrics } from '../telemetry/metrics.ts';
import { fenced, requireHeld } from './fenced.ts';
import { lastMark } from './increment.ts';
import { objectKeys } from './object-keys.ts';
import { sourceRequest } from './pin-source.ts';
import { pinReferences } from './references.ts';
import { stagedInputOf, writesParts } from './stage-input.ts';
import type { Work } from './work.ts';

/**
 * A dry run: finds out what a run would do, and ends with that. Of the source nothing is kept, and of the lake, the object
 * store and the quarantine nothing is touched; the run's own row, history and audit entries are all that it writes.
 */
export async function planDryRun(work: Work): Promise<void> {
  const { claim, deps, definition, contract, folder: workFolder, run, holder } = work;
  const signal = AbortSignal.any([work.lost, work.draining, work.closing]);
  const staged = await stagedInputOf(work, { parts: true });
  const pin = staged ? null : await sourceRequest(work);
  const existing = await findDataset(holder, definition.destination.dataset);
  const { references } = await pinReferences(work, null, signal);
  const request = {
    agency: claim.agencyId,
    definition,
    contract,
    stage: run.stage,
    staged,
    references,
    dataKeyOf: objectKeys(work),
    workFolder,
    signal,
    ...(pin ? await sinceOfDryRun(work, pin) : {}),
    ...(existing ? { dataset: existing.columns } : {}),
  };
  const report = withoutExamples(work, await deps.engine.dryRun({ ...request, pin }));
  const destination = writesParts(work) ? null : destinationOf(work, report, existing);
  const plan: DryRunPlan = { ...report, estimate: estimateOf(report), destination };
  await fenced(work, async (tx) => {
    requireHeld(claim, await finishPartition(tx, claim, 'COMPLETED'));
    const summary = { dryRun: true, recordsTotal: plan.recordsTotal, bytesTotal: plan.bytesTotal, ...plan.estimate };
    await appendAudit(tx, {
      actor: `worker:${deps.config.id}`,
      role: 'worker',
      action: 'run.complete',
      resourceType: 'run',
      resourceId: claim.runId,
      success: true,
      after: summary,
      traceId: run.traceId,
    });
    await setDryRunPlan(tx, claim, plan);
    const message = `Dry run of ${run.pipelineName} completed: ${String(plan.recordsTotal ?? 'unknown')} records, nothing was written.`;
    await appendEvents(tx, claim, [{ name: 'RunCompleted', message, data: summary }], {
      from: ['IN_PROGRESS'],
      to: 'COMPLETED',
      finishes: true,
    });
  });
  metrics.runs.inc({ status: 'COMPLETED' });
  deps.announcer.run(claim.runId);
}

/** What a run would pass over. */
async function sinceOfDryRun(
  work: Work,
  { connection: { name, kind }, connectionVersion: version }: Awaited<ReturnType<typeof sourceRequest>>,
): Promise<{ since?: Since }> {
  const { incremental } = work.definition.source;
  if (!incremental || kind === 'postgres') return {};
  const { cursor } = incremental;
  return { since: { cursor, after: await lastMark(work, { name, version }, cursor) } };
}

/** An example repeats a record's value, and where the agency's records are sealed none stands anywhere in plain text. */
function withoutExamples({ deps }: Work, report: DryRunReport): DryRunReport {
  if (!deps.keys?.seals) return report;
  const findings = report.sample.findings.map((finding) => ({ ...finding, example: null }));
  return { ...report, sample: { ...report.sample, findings } };
}

/** The sample's shares, of the whole. */
function estimateOf({ recordsTotal, sample }: DryRunReport): DryRunPlan['estimate'] {
  const share = (count: number): number | null =>
    recordsTotal === null || sample.recordsRead === 0 ? null : Math.round((recordsTotal * count) / sample.recordsRead);
  return {
    recordsWritten: share(sample.recordsGood),
    recordsRejected: share(sample.recordsRejected),
    recordsFiltered: share(sample.recordsFiltered),
  };
}

function destinationOf(
  { definition }: Work,
  { columns }: DryRunReport,
  existing: DatasetState | null,
): DryRunDestination {
  const { dataset, mode, evolve = false } = definition.destination;
  const has = existing?.columns ?? [];
  const by = (list: readonly DatasetColumn[]) => new Map(list.map(({ name, type }) => [name, type]));
  const [before, after] = [by(has), by(columns)];
  const changed = columns.filter(({ name, type }) => before.has(name) && before.get(name) !== type);
  const diff = {
    added: existing ? columns.filter(({ name }) => !before.has(name)) : [],
    removed: has.filter(({ name }) => !after.has(name)),
    changed: changed.map(({ name, type }) => ({ name, from: before.get(name) ?? '', to: type })),
  };
  const fits = (evolve ? 0 : diff.added.length) + diff.removed.length + diff.changed.length === 0;
  return {
    dataset,
    mode,
    exists: existing !== null,
    fits,
    ...diff,
    loads: existing?.loads ?? 0,
    records: String(existing?.records ?? 0n),
    supersededLoads: mode === 'replace' ? (existing?.loads ?? 0) : 0,
  };
}
