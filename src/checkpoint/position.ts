import type { PartitionCounts } from '../db/partitions.ts';
import type { StepTotal } from '../db/step-counts.ts';

/** Where a partition stands after its last committed batch, and what it has done since its first record. */
export interface Position {
  /** The number of the last committed batch; 0 before the first. */
  version: number;
  /** Where the next batch begins; null is the range's beginning. */
  cursor: string | null;
  counts: PartitionCounts;
  /** In the order of the data; empty before the first batch. */
  steps: readonly StepTotal[];
  /** The hash of checkpoint `version`; null before the first. */
  hash: Buffer | null;
  /** The last event of the batch before, to which the next checkpoint is chained; null before the first. */
  lastEvent: { seq: number; id: string } | null;
}

export const beginning: Position = Object.freeze({
  version: 0,
  cursor: null,
  counts: Object.freeze({ read: 0, written: 0, rejected: 0, filtered: 0, bytes: 0 }),
  steps: Object.freeze([]),
  hash: null,
  lastEvent: null,
});

/** What a batch adds to a position. */
export interface Progress {
  cursor: string;
  recordsRead: number;
  bytesRead: number;
  goodCount: number;
  rejectedCount: number;
  /** One per step, in the order of the data, the same steps in every batch. */
  steps: readonly StepTotal[];
}

/** The position after one more batch. Its hash is still that of the checkpoint before. */
export function advance(position: Position, batch: Progress): Position {
  const { counts } = position;
  return {
    ...position,
    version: position.version + 1,
    cursor: batch.cursor,
    counts: {
      read: counts.read + batch.recordsRead,
      written: counts.written + batch.goodCount,
      rejected: counts.rejected + batch.rejectedCount,
      filtered: counts.filtered + batch.steps.reduce((sum, { recordsFiltered }) => sum + recordsFiltered, 0),
      bytes: counts.bytes + batch.bytesRead,
    },
    steps: batch.steps.map((step, i) => addStep(position.steps[i], step)),
  };
}

function addStep(before: StepTotal | undefined, step: StepTotal): StepTotal {
  return {
    stage: step.stage,
    step: step.step,
    kind: step.kind,
    recordsIn: (before?.recordsIn ?? 0) + step.recordsIn,
    recordsOut: (before?.recordsOut ?? 0) + step.recordsOut,
    recordsRejected: (before?.recordsRejected ?? 0) + step.recordsRejected,
    recordsFiltered: (before?.recordsFiltered ?? 0) + step.recordsFiltered,
  };
}
