import { rmSync } from 'node:fs';
import type { DuckDbSession } from './duckdb/session.ts';
import type { Chunk, SourceReader } from './ingest/reader.ts';
import { type Looked, readStretches, spreadOver, type Surveyed } from './ingest/spread.ts';
import type { PreparedBatch } from './protocol.ts';
import { Findings } from './sample.ts';
import { addCounts } from './step-counts.ts';

/** What a sample is taken with: a session's reader, and its way from a chunk to a batch whose records stand in `_flux_batch`. */
export interface Sampling {
  session: DuckDbSession;
  reader: SourceReader;
  /** Records that an earlier run has read are passed over. */
  passesOver: boolean;
  recordsPerBatch: number;
  prepare(chunk: Chunk): Promise<PreparedBatch>;
}

export interface Sampled {
  /** Counts of all that was read. */
  batch: PreparedBatch;
  findings: Findings;
  looked: Looked;
}

/**
 * Reads records from all over a source and leaves the good ones in `_flux_batch`. Where only new records count nobody knows where they
 * stand: all are read then, and of the good ones every so many-th is kept.
 *
 * @param surveyed null: chosen records, which the reader has begun already, come a few at a time
 * @param recordsMax of the sample
 */
export async function takeSample(sampling: Sampling, surveyed: Surveyed | null, recordsMax: number): Promise<Sampled> {
  const { session, reader, passesOver, prepare } = sampling;
  if (surveyed === null) return readAll(sampling, recordsMax, recordsMax);
  if (passesOver) {
    await reader.start({ from: surveyed.places[0]?.position ?? {}, records: surveyed.recordsTotal });
    return readAll(sampling, recordsMax, Infinity);
  }
  const { chunk, looked } = await readStretches(session, reader, spreadOver(surveyed, recordsMax));
  const batch = await prepare(chunk);
  const findings = new Findings();
  findings.add(batch.rejected);
  return { batch, findings, looked };
}

/** @param keptMax good records that are kept @param readMax records after which no more are read */
async function readAll(
  { session, reader, recordsPerBatch, prepare }: Sampling,
  keptMax: number,
  readMax: number,
): Promise<Sampled> {
  const findings = new Findings();
  let sum: PreparedBatch | null = null;
  let [every, seen, read] = [1, 0, 0];
  for (let last = false; !last && read < readMax;) {
    const batch = await prepare(await reader.next(Math.min(recordsPerBatch, readMax - read)));
    rmSync(batch.goodFile, { force: true });
    const into = sum === null ? 'create or replace temp table _flux_kept as' : 'insert into _flux_kept';
    await session.run(`
      ${into} select * from (
        select *, ${String(seen)} + row_number() over (order by _flux_record) - 1 as _flux_seen from _flux_batch where _flux_state = 0
      ) where _flux_seen % ${String(every)} = 0`);
    seen += batch.goodCount;
    read += batch.recordsRead;
    for (; Math.ceil(seen / every) > keptMax; every *= 2) {
      await session.run(`delete from _flux_kept where _flux_seen % ${String(every * 2)} <> 0`);
    }
    findings.add(batch.rejected);
    const counts = { ...batch, rejected: [] };
    sum = sum === null ? counts : added(sum, counts);
    last = batch.last;
  }
  await session.run('create or replace temp table _flux_batch as select * exclude (_flux_seen) from _flux_kept');
  if (sum === null) throw new Error('a sample of no record was asked for');
  const { firstRecord, lastRecord } = sum;
  return { batch: sum, findings, looked: { places: 1, firstRecord, lastRecord, widestGap: every - 1 } };
}

function added(sum: PreparedBatch, batch: PreparedBatch): PreparedBatch {
  return {
    ...batch,
    recordsRead: sum.recordsRead + batch.recordsRead,
    bytesRead: sum.bytesRead + batch.bytesRead,
    goodCount: sum.goodCount + batch.goodCount,
    firstRecord: sum.firstRecord ?? batch.firstRecord,
    lastRecord: batch.lastRecord ?? sum.lastRecord,
    steps: batch.steps.map((step, at) => addCounts(step, sum.steps[at])),
  };
}
