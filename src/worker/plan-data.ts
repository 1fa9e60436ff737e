import { stepStages } from '../db/run-vocabulary.ts';
import type { SourceObject } from '../db/source-objects.ts';
import type { SourcePlan } from '../etl/engine-types.ts';
import type { NewRunEvent } from '../events/append.ts';
import type { OpenedLoad } from './open-load.ts';

/** What a run's history and the audit log say of a plan. */
export function planEvents(object: SourceObject, plan: SourcePlan, load: OpenedLoad): NewRunEvent[] {
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

export function planData(object: SourceObject, plan: SourcePlan, load: OpenedLoad): Record<string, unknown> {
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
