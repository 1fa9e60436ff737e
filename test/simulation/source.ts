import type { Progress } from '../../src/checkpoint/position.ts';
import type { StepTotal } from '../../src/db/step-counts.ts';
import type { SourceObject } from './storage.ts';

export interface SimulatedRecord {
  recordNo: number;
  content: string;
  rejected: boolean;
}

/** What a source of that version holds at a place, from 0. Each fifth record breaks the contract. */
export function recordAt({ version }: Pick<SourceObject, 'version'>, at: number): SimulatedRecord {
  return { recordNo: at + 1, content: `${String(version)}:${String(at)}`, rejected: at % 5 === 4 };
}

export interface SimulatedBatch extends Progress {
  records: SimulatedRecord[];
  firstRecord: number | null;
  lastRecord: number | null;
  last: boolean;
}

const batchRecords = 2;

/** The batch after a cursor of the range. */
export function readBatch(
  source: SourceObject,
  range: { from: number; to: number },
  cursor: string | null,
): SimulatedBatch {
  const at = cursor === null ? range.from : Number(cursor);
  const end = Math.min(at + batchRecords, range.to);
  const records: SimulatedRecord[] = [];
  for (let i = at; i < end; i += 1) records.push(recordAt(source, i));
  const rejectedCount = records.filter(({ rejected }) => rejected).length;
  return {
    records,
    cursor: String(Math.max(at, end)),
    recordsRead: records.length,
    bytesRead: records.length * 10,
    goodCount: records.length - rejectedCount,
    rejectedCount,
    steps: stepsOf(records.length, rejectedCount),
    firstRecord: records[0]?.recordNo ?? null,
    lastRecord: records.at(-1)?.recordNo ?? null,
    last: end >= range.to,
  };
}

function stepsOf(read: number, rejected: number): StepTotal[] {
  const good = read - rejected;
  const none = { recordsRejected: 0, recordsFiltered: 0 };
  return [
    { stage: 'INGEST', step: 'read', kind: 'read', recordsIn: read, recordsOut: read, ...none },
    {
      stage: 'INGEST',
      step: 'validate',
      kind: 'validate',
      recordsIn: read,
      recordsOut: good,
      ...none,
      recordsRejected: rejected,
    },
    { stage: 'EXPORT', step: 'write', kind: 'write', recordsIn: good, recordsOut: good, ...none },
  ];
}
