import { stepStages, type StepStage } from '../db/run-vocabulary.ts';
import type { Run } from '../db/runs.ts';
import type { SourceObject } from '../db/source-objects.ts';
import type { Since, SourcePlan } from '../etl/engine-types.ts';
import type { NewRunEvent } from '../events/append.ts';
import type { OpenedLoad } from './open-load.ts';

/** The stages that a run goes through. */
export function stagesOf({ stage }: Pick<Run, 'stage'>): readonly StepStage[] {
  return stage === 'FULL' ? stepStages : [stage];
}

/** What a run's history says of a plan. */
export function planEvents(run: Run, plan: SourcePlan, data: Record<string, unknown>): NewRunEvent[] {
  const size = plan.recordsTotal === null ? `${String(plan.bytesTotal)} bytes` : `${String(plan.recordsTotal)} records`;
  const what = run.inputRun === null ? 'Source pinned' : `Parts of run ${run.inputRun} found`;
  return [
    {
      name: 'PlanMade',
      message: `${what}: ${size} in ${String(plan.ranges.length)} partition${plan.ranges.length === 1 ? '' : 's'}.${evolution(data)}`,
      partitionNo: 0,
      data,
    },
    ...stagesOf(run).map((stage): NewRunEvent => ({
      name: 'StageStarted',
      stage,
      message: `${stage} started.`,
      data: {},
    })),
  ];
}

/** New columns are never silent. */
function evolution({ dataset, columnsAdded = [], fieldsEvolved = [] }: Record<string, unknown>): string {
  const columns = (columnsAdded as { name: string }[]).map(({ name }) => name).join(', ');
  const fields = (fieldsEvolved as { field: string; column: string }[]).map(({ column }) => column).join(', ');
  return (
    (fields === '' ? '' : ` Columns that the contract does not name: ${fields}.`) +
    (columns === '' ? '' : ` The dataset ${String(dataset)} got new columns: ${columns}.`)
  );
}

/** What was read before; a database was asked for no more, and says no such thing. */
function markOf({ ranges: [first] }: SourcePlan): { after?: string | null } {
  const since = first?.['since'] as Since | undefined;
  return since ? { after: since.after } : {};
}

/** What the history and the audit log keep of a plan. */
export function planData(
  { inputRun }: Run,
  {
    object,
    before = null,
    plan,
    load,
  }: {
    object: SourceObject | null;
    /** The digest of what the pipeline's run before has pinned. */
    before?: string | null;
    plan: SourcePlan;
    load: OpenedLoad | null;
  },
): Record<string, unknown> {
  return {
    partitions: plan.ranges.length,
    recordsTotal: plan.recordsTotal,
    bytesTotal: plan.bytesTotal,
    ...(object ? { sha256: object.sha256, origin: object.origin } : { inputRun }),
    ...(object && before !== null ? { sourceChanged: object.sha256 !== before } : {}),
    ...(object?.increment ? { increment: { ...object.increment, ...markOf(plan) } } : {}),
    ...(load ? { dataset: load.dataset, load: Number(load.loadNo) } : {}),
    ...(plan.evolved?.length ? { fieldsEvolved: plan.evolved } : {}),
    ...(load && load.added.length > 0 ? { columnsAdded: load.added } : {}),
    steps: plan.steps.map(({ stage, step, kind }) => ({ stage, step, kind })),
  };
}
