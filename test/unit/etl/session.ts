import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatchSession } from '../../../src/etl/batch-session.ts';
import type { PipelineDefinition } from '../../../src/etl/engine-types.ts';
import type { ChildJob, PreparedBatch, SourceSurvey } from '../../../src/etl/protocol.ts';
import { goodRows, madeRecords } from '../../support/copy-file.ts';

export interface SessionResult {
  survey: SourceSurvey;
  batches: PreparedBatch[];
  rows: (string | null)[][];
  /** The records whose rows were made without DuckDB. */
  made: number[];
  rejected: PreparedBatch['rejected'];
}

/** What a child does, in this process: opens, surveys, and reads every range to its end. */
export async function runSession(
  content: string | Uint8Array,
  definition: PipelineDefinition,
  contract: Record<string, unknown> | null,
  { keepRows = true, ...job }: Partial<ChildJob> & { keepRows?: boolean } = {},
): Promise<SessionResult> {
  const read = async (session: BatchSession): Promise<SessionResult> => {
    const survey = await session.survey();
    const batches: PreparedBatch[] = [];
    const rows: (string | null)[][] = [];
    const made: number[] = [];
    for (const range of survey.ranges) {
      await session.start(range, null);
      for (let last = false; !last;) {
        const batch = await session.next();
        last = batch.last;
        batches.push(batch);
        if (!keepRows) continue;
        rows.push(...goodRows(batch, survey.columns));
        made.push(...madeRecords(batch, survey.columns));
      }
    }
    return { survey, batches, rows, made, rejected: batches.flatMap((batch) => batch.rejected) };
  };
  return withSession(content, definition, contract, read, job);
}

export async function withSession<T>(
  content: string | Uint8Array,
  definition: PipelineDefinition,
  contract: Record<string, unknown> | null,
  use: (session: BatchSession) => Promise<T>,
  job: Partial<ChildJob> = {},
): Promise<T> {
  const workFolder = mkdtempSync(join(tmpdir(), 'flux session-'));
  const objectPath = join(workFolder, 'object');
  const bytes = Buffer.from(content as string);
  writeFileSync(objectPath, bytes);
  try {
    const session = await BatchSession.open({
      definition,
      contract,
      objectPath,
      objectByteCount: bytes.length,
      workFolder,
      memoryMegabytes: 256,
      ...job,
    });
    try {
      return await use(session);
    } finally {
      session.close();
    }
  } finally {
    rmSync(workFolder, { recursive: true });
  }
}

/** The records of each batch that is left of a range. */
export async function readCounts(session: BatchSession): Promise<number[]> {
  const counts: number[] = [];
  for (let last = false; !last;) {
    const batch = await session.next();
    ({ last } = batch);
    counts.push(batch.recordsRead);
  }
  return counts;
}
