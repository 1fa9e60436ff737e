import type { Position } from './ingest/reader.ts';
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
  return starts.map((mark, at) => ({
    from: mark.position,
    record: mark.record,
    records: (starts[at + 1]?.record ?? recordsTotal) - mark.record,
  }));
}
