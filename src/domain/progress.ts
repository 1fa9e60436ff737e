import type { RunTotals } from '../db/run-partitions-read.ts';
import type { RunStage, RunStatus } from '../db/run-vocabulary.ts';

/** How `fraction` is known: from the counted source, from its size, or not at all. A percentage is never invented. */
export const estimateSources = ['EXACT', 'SOURCE', 'NONE'] as const;
export type EstimateSource = (typeof estimateSources)[number];

export interface RunProgress {
  runId: string;
  status: RunStatus;
  stage: RunStage;
  /** What is being done: `plan`, `batches`, `publish`; null once the run is over. */
  step: string | null;
  recordsTotal: bigint | null;
  recordsRead: bigint;
  recordsWritten: bigint;
  recordsRejected: bigint;
  recordsFiltered: bigint;
  bytesRead: bigint;
  bytesTotal: bigint | null;
  /** 0 to 1. */
  fraction: number | null;
  estimateSource: EstimateSource;
  /** Records read a second; null before there is anything to measure. */
  ratePerSecond: number | null;
  etaAt: Date | null;
  updatedAt: Date;
}

const steps = {
  PLAN: { step: 'plan', stage: 'INGEST' },
  BATCHES: { step: 'batches', stage: null }, // the run's own stage: a streaming FULL run is in all three at once
  PUBLISH: { step: 'publish', stage: 'EXPORT' },
} as const;

/** @param ratePerSecond measured by whoever watches; the average since the start stands in for it */
export function progressOf(totals: RunTotals, ratePerSecond: number | null = averageRate(totals)): RunProgress {
  const { fraction, estimateSource } = estimate(totals);
  const current = totals.current === null || totals.finishedAt ? null : steps[totals.current];
  return {
    runId: totals.runId,
    status: totals.status,
    stage: current?.stage ?? totals.stage,
    step: current?.step ?? null,
    recordsTotal: totals.recordsTotal,
    recordsRead: totals.recordsRead,
    recordsWritten: totals.recordsWritten,
    recordsRejected: totals.recordsRejected,
    recordsFiltered: totals.recordsFiltered,
    bytesRead: totals.bytesRead,
    bytesTotal: totals.bytesTotal,
    fraction,
    estimateSource,
    ratePerSecond,
    etaAt: etaOf(totals, fraction, ratePerSecond),
    updatedAt: totals.updatedAt,
  };
}

/** Records a second from the start to the end, or to now by the database's clock. */
export function averageRate({ startedAt, finishedAt, readAt, recordsRead }: RunTotals): number | null {
  if (!startedAt) return null;
  return rateBetween(0n, recordsRead, (finishedAt ?? readAt).getTime() - startedAt.getTime());
}

export function rateBetween(before: bigint, after: bigint, elapsedMs: number): number | null {
  return elapsedMs > 0 ? (Number(after - before) * 1_000) / elapsedMs : null;
}

function estimate(totals: RunTotals): { fraction: number | null; estimateSource: EstimateSource } {
  if (totals.recordsTotal !== null) {
    return { fraction: share(totals.recordsRead, totals.recordsTotal), estimateSource: 'EXACT' };
  }
  if (totals.bytesTotal !== null) {
    return { fraction: share(totals.bytesRead, totals.bytesTotal), estimateSource: 'SOURCE' };
  }
  return { fraction: null, estimateSource: 'NONE' };
}

function share(part: bigint, whole: bigint): number {
  return whole === 0n ? 1 : Math.min(1, Number(part) / Number(whole));
}

function etaOf(totals: RunTotals, fraction: number | null, rate: number | null): Date | null {
  if (totals.finishedAt || fraction === null || rate === null || rate <= 0 || totals.recordsRead === 0n) return null;
  const remaining = fraction === 0 ? null : (Number(totals.recordsRead) / fraction) * (1 - fraction);
  return remaining === null ? null : new Date(totals.readAt.getTime() + (remaining / rate) * 1_000);
}
