import type { LoadOfRun, StepTotals } from '../db/step-counts-read.ts';

/** Whether a run adds up, and the numbers that show it. */
export interface Reconciliation {
  steps: StepTotals[];
  /** What the first step took in. */
  recordsRead: bigint;
  /** What the last step let out. */
  recordsWritten: bigint;
  recordsRejected: bigint;
  recordsFiltered: bigint;
  /** The destination's own count; null before the load is published. */
  destinationCount: bigint | null;
  /** Empty when all adds up so far. */
  differences: string[];
}

/**
 * Every step lets out what it took in, less what it rejected and filtered; takes in what the one before let out; and the
 * destination counts what the last let out.
 *
 * @param steps in the order in which records pass them
 * @returns null before anything was counted
 */
export function reconcile(steps: StepTotals[], load: LoadOfRun | null): Reconciliation | null {
  const [first] = steps;
  const last = steps.at(-1);
  if (!first || !last) return null;
  const destinationCount = load?.recordCount ?? null;
  return {
    steps,
    recordsRead: first.recordsIn,
    recordsWritten: last.recordsOut,
    recordsRejected: sum(steps, 'recordsRejected'),
    recordsFiltered: sum(steps, 'recordsFiltered'),
    destinationCount,
    differences: differencesOf(steps, last, destinationCount),
  };
}

function differencesOf(steps: readonly StepTotals[], last: StepTotals, destinationCount: bigint | null): string[] {
  const differences = steps.flatMap((step, i) => {
    const accounted = step.recordsOut + step.recordsRejected + step.recordsFiltered;
    const before = steps[i - 1];
    return [
      ...(step.recordsIn === accounted || step.kind === 'aggregate' || step.kind === 'query'
        ? []
        : [`${step.step}: ${String(step.recordsIn)} in, ${String(accounted)} accounted for`]),
      ...(before === undefined || before.recordsOut === step.recordsIn
        ? []
        : [`${before.step} let out ${String(before.recordsOut)}, ${step.step} took in ${String(step.recordsIn)}`]),
    ];
  });
  if (destinationCount !== null && destinationCount !== last.recordsOut) {
    differences.push(
      `${last.step} let out ${String(last.recordsOut)}, the destination counts ${String(destinationCount)}`,
    );
  }
  return differences;
}

function sum(steps: readonly StepTotals[], column: 'recordsRejected' | 'recordsFiltered'): bigint {
  return steps.reduce((total, step) => total + step[column], 0n);
}
