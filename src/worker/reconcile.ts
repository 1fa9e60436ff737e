import type { StepTotal } from '../db/step-counts.ts';

/** What a run's parts say of it, each counted on its own. */
export interface Tally {
  /** Sums over all partitions, in the order of the data. */
  steps: readonly StepTotal[];
  /** What the plan counted in the source; null when it could not. */
  recordsTotal: number | null;
  /** The destination's own count of the load. */
  destination: number;
  /** Rejected records that are kept. */
  rejected: number;
}

/**
 * Where a run does not add up: one sentence for each difference, none when every record is accounted for. Each step's
 * records in are the previous one's out, and each record that went in came out, was rejected, or was filtered.
 */
export function findDifferences({ steps, recordsTotal, destination, rejected }: Tally): string[] {
  const first = steps[0];
  const last = steps.at(-1);
  if (!first || !last) return ['no step has counted anything'];
  return [
    ...difference('the source holds', recordsTotal ?? first.recordsIn, `${first.step} took in`, first.recordsIn),
    ...steps.flatMap(stepDifference),
    ...steps.slice(1).flatMap((step, i) => {
      const before = steps[i] as StepTotal;
      return difference(`${before.step} gave out`, before.recordsOut, `${step.step} took in`, step.recordsIn);
    }),
    ...difference(`${last.step} gave out`, last.recordsOut, 'the destination holds', destination),
    ...difference('the steps rejected', sumOf(steps, 'recordsRejected'), 'the rejected records are', rejected),
  ];
}

function stepDifference({ step, kind, recordsIn, recordsOut, recordsRejected, recordsFiltered }: StepTotal): string[] {
  // Its records are others than those that it took in.
  if (kind === 'aggregate' || kind === 'query') return [];
  return difference(
    `${step} took in`,
    recordsIn,
    `${step} accounts for`,
    recordsOut + recordsRejected + recordsFiltered,
  );
}

function difference(left: string, a: number, right: string, b: number): string[] {
  return a === b ? [] : [`${left} ${String(a)}, ${right} ${String(b)} (difference ${String(b - a)})`];
}

/** A sum over the steps of a run. */
export function sumOf(steps: readonly StepTotal[], count: 'recordsRejected' | 'recordsFiltered'): number {
  return steps.reduce((sum, step) => sum + step[count], 0);
}
