import type { Range, WantedCluster } from './protocol.ts';

/** A record that is to be read again, and where it stands. */
export interface WantedRecord {
  recordNo: number;
  byteOffset: number | null;
}

/** Each costs a jump and a query; more would take longer than reading what lies between. */
const clusterCountMax = 128;
/** Records of one partition: its range is one JSON value. */
const recordsPerRangeMax = 20_000;

/**
 * Cuts chosen records into ranges of clusters: records close to each other are read in one go, with what lies between. A
 * record without a place of its own is read from the beginning of the first run's range that holds it.
 *
 * @param records in the order of their numbers
 * @param ranges the first run's, in order
 * @param byRow a record's number is its place (Parquet)
 */
export function cutWanted(
  records: readonly WantedRecord[],
  { ranges, byRow }: { ranges: readonly Range[]; byRow: boolean },
): Range[] {
  const cut: Range[] = [];
  for (let at = 0; at < records.length; at += recordsPerRangeMax) {
    const part = records.slice(at, at + recordsPerRangeMax);
    const clusters = clustersOf(part).map((cluster) => placed(cluster, ranges, byRow));
    cut.push({ from: { cluster: 0, done: 0 }, record: at, records: part.length, clusters });
  }
  return cut;
}

/** Parts the records at their widest gaps. */
function clustersOf(records: readonly WantedRecord[]): WantedRecord[][] {
  const gaps = records
    .slice(1)
    .map(({ recordNo }, i) => ({ at: i + 1, gap: recordNo - (records[i]?.recordNo ?? 0) }))
    .filter(({ gap }) => gap > 1)
    .sort((a, b) => b.gap - a.gap)
    .slice(0, clusterCountMax - 1)
    .map(({ at }) => at)
    .sort((a, b) => a - b);
  const bounds = [0, ...gaps, records.length];
  return bounds.slice(1).map((end, i) => records.slice(bounds[i], end));
}

function placed(records: readonly WantedRecord[], ranges: readonly Range[], byRow: boolean): WantedCluster {
  const [first, last] = [records[0] as WantedRecord, records.at(-1) as WantedRecord];
  const wanted = records.map(({ recordNo }) => recordNo);
  const before = first.recordNo - 1;
  const span = last.recordNo - before;
  if (byRow) return { from: { row: before }, records: span, wanted };
  if (first.byteOffset !== null) {
    return { from: { offset: first.byteOffset, record: before, exact: 1 }, records: span, wanted };
  }
  const range = ranges.findLast(({ record }) => record <= before);
  return { from: range?.from ?? {}, records: last.recordNo - (range?.record ?? 0), wanted };
}
