import { describe, expect, it } from 'vitest';

import type { LoadOfRun, StepTotals } from '../../src/db/step-counts-read.ts';
import { reconcile } from '../../src/domain/reconciliation.ts';
import { canBecome, runStatuses } from '../../src/domain/run.ts';

function step(name: string, recordsIn: bigint, recordsOut: bigint, lost: Partial<StepTotals> = {}): StepTotals {
  return {
    runId: 'r',
    position: 0,
    stage: 'INGEST',
    step: name,
    kind: 'row',
    recordsIn,
    recordsOut,
    recordsRejected: 0n,
    recordsFiltered: 0n,
    ...lost,
  };
}

function load(recordCount: bigint | null): LoadOfRun {
  return {
    runId: 'r',
    dataset: 'd',
    loadNo: 1n,
    mode: 'append',
    status: 'PUBLISHED',
    recordCount,
    replacedCount: 0n,
    openedAt: new Date(),
    publishedAt: null,
  };
}

const steps = [
  step('read', 10n, 10n),
  step('validate', 10n, 8n, { recordsRejected: 2n }),
  step('adults', 8n, 5n, { recordsFiltered: 3n }),
  step('write', 5n, 5n),
];

describe('reconciliation', () => {
  it('holds when every step accounts for what it took in and the destination counts what was written', () => {
    expect(reconcile(steps, load(5n))).toMatchObject({
      recordsRead: 10n,
      recordsWritten: 5n,
      recordsRejected: 2n,
      recordsFiltered: 3n,
      destinationCount: 5n,
      differences: [],
    });
    expect(reconcile(steps, null)).toMatchObject({ destinationCount: null, differences: [] });
  });

  it('names each difference', () => {
    const broken = [step('read', 10n, 9n), step('write', 8n, 8n)];
    expect(reconcile(broken, load(7n))?.differences).toEqual([
      'read: 10 in, 9 accounted for',
      'read let out 9, write took in 8',
      'write let out 8, the destination counts 7',
    ]);
  });

  it('has nothing to say before anything was counted', () => {
    expect(reconcile([], null)).toBeNull();
  });
});

describe('a run’s states', () => {
  it('lead from a queued run to one ending, and from a failed or cancelled one only back to the queue', () => {
    expect(canBecome('PENDING', 'IN_PROGRESS')).toBe(true);
    expect(canBecome('IN_PROGRESS', 'COMPLETED')).toBe(true);
    expect(runStatuses.filter((to) => canBecome('COMPLETED', to))).toEqual([]);
    expect(runStatuses.filter((to) => canBecome('FAILED', to))).toEqual(['PENDING']);
    expect(runStatuses.filter((to) => canBecome('CANCELLED', to))).toEqual(['PENDING']);
  });
});
