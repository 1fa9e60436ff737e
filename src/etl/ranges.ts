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
  const sizes = starts.map(({ record }, at) => (starts[at + 1]?.record ?? recordsTotal) - record);
  return starts.map(({ position: from, record }, at) => {
    const following = sizes[at + 1];
    return { from, record, records: sizes[at] ?? 0, ...(following === undefined ? {} : { following }) };
  });
}
