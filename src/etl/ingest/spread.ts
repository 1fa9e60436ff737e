import type { DuckDbSession } from '../duckdb/session.ts';
import { batchByteCountMax } from './limits.ts';
import type { Chunk, Place, SourceReader, Stretch } from './reader.ts';
import { tailStep } from './survey-marks.ts';

/** A source that has been surveyed, as a sample of it needs it. */
export interface Surveyed {
  places: readonly Place[];
  recordsTotal: number;
  /** Of all its records, as they lie in memory. */
  bytesTotal: number;
}

/** Which records of a source a sample holds. */
export interface Looked {
  /** Stretches of records beside each other. */
  places: number;
  /** Numbers of the first and the last record; null where there is none. */
  firstRecord: number | null;
  lastRecord: number | null;
  /** The most records beside each other that the sample leaves out. */
  widestGap: number;
}

/** As many bytes as a batch may have. */
const sampleBytesMax = batchByteCountMax;

/**
 * The stretches of a sample: at every place a few records, at the last one up to the end. A small source is one stretch, a source of
 * long records has fewer places.
 *
 * @param recordsMax of the sample
 */
export function spreadOver({ places, recordsTotal, bytesTotal }: Surveyed, recordsMax: number): Stretch[] {
  const fitting =
    recordsTotal === 0 ? recordsMax : Math.floor((sampleBytesMax * recordsTotal) / Math.max(bytesTotal, 1));
  const budget = Math.max(1, Math.min(recordsMax, fitting));
  const [first] = places;
  if (first && recordsTotal <= budget) return [{ from: first.position, record: first.record, records: recordsTotal }];
  const end = places.at(-1)?.record ?? 0;
  const tail = Math.min(tailStep, recordsTotal - end, Math.ceil(budget / 4));
  const every = Math.ceil((places.length - 1) / Math.max(1, budget - tail));
  // From the last one on, so that the end is never left out.
  const chosen = places.filter((_place, at) => (places.length - 1 - at) % Math.max(1, every) === 0);
  const each = Math.max(1, Math.floor((budget - tail) / Math.max(1, chosen.length - 1)));
  return chosen.map(({ position, record }, at) => {
    const next = chosen[at + 1];
    return { from: position, record, records: next ? Math.min(each, next.record - record) : tail };
  });
}

/**
 * Reads the records of all stretches as one chunk. Stretches are left out when others have taken the bytes of a sample, those
 * that lie between others first.
 */
export async function readStretches(
  session: DuckDbSession,
  reader: SourceReader,
  stretches: readonly Stretch[],
): Promise<{ chunk: Chunk; looked: Looked }> {
  if (reader.stretches) {
    const { chunk, read } = await reader.stretches(stretches);
    return { chunk, looked: lookedAt(read) };
  }
  const chunks: Chunk[] = [];
  let bytesLeft = sampleBytesMax;
  for (const stretch of inHalves(stretches)) {
    if (bytesLeft <= 0) break;
    await reader.start({ from: stretch.from, records: stretch.records, glance: stretches.length > 1 });
    for (let left = stretch.records; ;) {
      const chunk = await reader.next(left);
      left -= chunk.recordsRead;
      bytesLeft -= chunk.bytesRead;
      const ends = chunk.last || chunk.recordsRead === 0 || left === 0 || bytesLeft <= 0;
      // The only one is read from where it stands.
      if (ends && stretches.length === 1 && chunks.length === 0)
        return { chunk, looked: lookedAt(stretchesOf([chunk])) };
      await keep(session, chunk, chunks.length === 0);
      chunks.push(chunk);
      if (ends) break;
    }
  }
  return { chunk: joined(chunks), looked: lookedAt(stretchesOf(chunks)) };
}

/** A chunk's file is written over by the next one. */
async function keep(session: DuckDbSession, { relation }: Chunk, first: boolean): Promise<void> {
  const into = first ? 'create or replace temp table _flux_stretches as' : 'insert into _flux_stretches';
  await session.run(`${into} ${relation}`);
}

function joined(chunks: readonly Chunk[]): Chunk {
  const sum = (of: (chunk: Chunk) => number): number => chunks.reduce((total, chunk) => total + of(chunk), 0);
  const numbers = chunks
    .flatMap(({ firstRecord, lastRecord }) => [firstRecord, lastRecord])
    .filter((no) => no !== null);
  return {
    relation: 'select * from _flux_stretches',
    rowCount: sum(({ rowCount }) => rowCount),
    recordsRead: sum(({ recordsRead }) => recordsRead),
    bytesRead: sum(({ bytesRead }) => bytesRead),
    firstRecord: numbers.length === 0 ? null : Math.min(...numbers),
    lastRecord: numbers.length === 0 ? null : Math.max(...numbers),
    unreadable: chunks.flatMap(({ unreadable }) => unreadable),
    refused: chunks.flatMap(({ refused }) => refused),
    passed: sum(({ passed }) => passed ?? 0),
    dropped: chunks.flatMap(({ dropped }) => dropped ?? []),
    next: {},
    last: true,
    rawOf: () => ({ raw: null, byteOffset: null }),
  };
}

function stretchesOf(chunks: readonly Chunk[]): Pick<Stretch, 'record' | 'records'>[] {
  return chunks.flatMap(({ firstRecord, lastRecord }) =>
    firstRecord === null || lastRecord === null
      ? []
      : { record: firstRecord - 1, records: lastRecord - firstRecord + 1 },
  );
}

function lookedAt(stretches: readonly Pick<Stretch, 'record' | 'records'>[]): Looked {
  let places = 0;
  let widestGap = 0;
  let end = -1;
  const inOrder = stretches.filter(({ records }) => records > 0).sort((one, other) => one.record - other.record);
  for (const { record, records } of inOrder) {
    if (record > end) places += 1;
    if (end !== -1) widestGap = Math.max(widestGap, record - end);
    end = record + records;
  }
  return {
    places,
    firstRecord: inOrder[0] ? inOrder[0].record + 1 : null,
    lastRecord: end === -1 ? null : end,
    widestGap,
  };
}

/** The last and the first, the one in the middle, those in the middle of the halves, and so on. */
function inHalves<T>(list: readonly T[]): T[] {
  const last = list.length - 1;
  const order = new Set(last < 0 ? [] : [last, 0]);
  for (let step = 2 ** Math.floor(Math.log2(Math.max(last, 1))); step >= 1; step /= 2) {
    for (let at = step; at < last; at += step) order.add(at);
  }
  return [...order].map((at) => list[at] as T);
}
