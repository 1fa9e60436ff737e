import type { PipelineDefinition } from './engine-types.ts';

const recordsDefault = 100_000;
/** A smaller batch costs its commit, and gains nothing. */
const firstRecordsMin = 10_000;

/** Records of a batch, at most. */
export function recordsPerBatch({ batch }: Pick<PipelineDefinition, 'batch'>): number {
  return batch?.records ?? recordsDefault;
}

/**
 * Records of a run's first batch, at most. Until it is there the run's worker and its database have nothing to do, and whoever watches sees
 * nothing; and it is made by code that has only just been loaded. Of a whole one that is a quarter of a second.
 */
export function firstBatchRecords(perBatch: number): number {
  return Math.min(perBatch, Math.max(firstRecordsMin, Math.ceil(perBatch / 4)));
}
