import { FluxError } from '../errors.ts';
import type { BatchesRequest, PlanRequest, StagedPart } from './engine-types.ts';
import type { Position } from './ingest/reader.ts';
import { withPlaces } from './open-input.ts';
import type { Range } from './protocol.ts';

/** Enough to keep several machines busy; each costs a claim and an end. */
const rangeCountMax = 16;
/** A range of fewer batches would spend its time on being claimed. */
const batchesPerRangeMin = 5;

/** Cuts a source at some of its marks into ranges of about the same number of records. @param marks one a batch */
export function cutRanges(marks: readonly { position: Position; record: number }[], recordsTotal: number): Range[] {
  const batches = Math.max(marks.length, 1);
  const batchesPerRange = Math.max(batchesPerRangeMin, Math.ceil(batches / rangeCountMax));
  const starts = marks.filter((_mark, at) => at % batchesPerRange === 0);
  const sizes = starts.map(({ record }, at) => (starts[at + 1]?.record ?? recordsTotal) - record);
  return starts.map(({ position: from, record }, at) => {
    const following = sizes[at + 1];
    return { from, record, records: sizes[at] ?? 0, ...(following === undefined ? {} : { following }) };
  });
}

/** The parts of a stage's input that a range reads, each with the number of records before it. */
export function partsOf(
  { staged }: PlanRequest,
  { record, records }: Range,
): { parts?: (StagedPart & { before: number })[] } {
  if (!staged) return {};
  return { parts: withPlaces(staged.parts).filter((part) => part.before >= record && part.before < record + records) };
}

/** @throws CHECKPOINT_INCOMPATIBLE it is no range of this engine */
export function readRange(range: BatchesRequest['range']): Range {
  const { from, record, records, following, clusters, parts, evolved, since } = range as Partial<Range>;
  if (typeof from !== 'object' || typeof record !== 'number' || typeof records !== 'number') {
    throw new FluxError(
      'CHECKPOINT_INCOMPATIBLE',
      `Expected a range of this engine, found ${JSON.stringify(range).slice(0, 200)}. Start a new run.`,
    );
  }
  return {
    from,
    record,
    records,
    ...(typeof following === 'number' ? { following } : {}),
    ...(clusters ? { clusters } : {}),
    ...(parts ? { parts } : {}),
    ...(evolved ? { evolved } : {}),
    ...(since ? { since } : {}),
  };
}
