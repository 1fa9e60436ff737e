import { describe, expect, it } from 'vitest';

import type { RunTotals } from '../../src/db/run-partitions-read.ts';
import { createRateWindow } from '../../src/domain/follow-progress.ts';
import { progressOf } from '../../src/domain/progress.ts';

const start = Date.parse('2026-08-01T12:00:00Z');

function totals(more: Partial<RunTotals> = {}, seconds = 10): RunTotals {
  return {
    runId: 'r',
    status: 'IN_PROGRESS',
    stage: 'FULL',
    version: 3n,
    recordsTotal: 1_000n,
    bytesTotal: 50_000n,
    recordsRead: 250n,
    recordsWritten: 240n,
    recordsRejected: 10n,
    recordsFiltered: 0n,
    bytesRead: 10_000n,
    current: 'BATCHES',
    startedAt: new Date(start),
    finishedAt: null,
    updatedAt: new Date(start),
    readAt: new Date(start + seconds * 1_000),
    ...more,
  };
}

describe('progress', () => {
  it('counts exactly where the source has been counted, and says when it will be done', () => {
    expect(progressOf(totals())).toMatchObject({
      stage: 'FULL',
      step: 'batches',
      fraction: 0.25,
      estimateSource: 'EXACT',
      ratePerSecond: 25,
      etaAt: new Date(start + 40_000),
    });
  });

  it('goes by the source’s size where its records are not counted, and invents nothing without either', () => {
    expect(progressOf(totals({ recordsTotal: null }))).toMatchObject({
      fraction: 0.2,
      estimateSource: 'SOURCE',
      etaAt: new Date(start + 50_000),
    });
    expect(progressOf(totals({ recordsTotal: null, bytesTotal: null }))).toMatchObject({
      fraction: null,
      estimateSource: 'NONE',
      etaAt: null,
    });
  });

  it('has no rate before the start and no time of arrival before the first record', () => {
    const waiting = totals({ status: 'PENDING', startedAt: null, recordsRead: 0n, current: 'PLAN' });
    expect(progressOf(waiting)).toMatchObject({
      stage: 'INGEST',
      step: 'plan',
      ratePerSecond: null,
      etaAt: null,
      fraction: 0,
    });
    expect(progressOf(totals({ bytesRead: 0n, recordsTotal: null })).etaAt).toBeNull();
    expect(progressOf(totals({}, 0)).ratePerSecond).toBeNull();
  });

  it('ends with the run: the average rate, no step, a source of no records all read', () => {
    const over = totals({
      status: 'COMPLETED',
      finishedAt: new Date(start + 5_000),
      recordsRead: 0n,
      recordsTotal: 0n,
      current: null,
    });
    expect(progressOf(over)).toMatchObject({ stage: 'FULL', step: null, fraction: 1, ratePerSecond: 0, etaAt: null });
    expect(progressOf(totals({ current: 'PUBLISH' }))).toMatchObject({ stage: 'EXPORT', step: 'publish' });
  });
});

describe('the rate', () => {
  it('is that of the last ten seconds, and falls to nothing while nothing happens', () => {
    const window = createRateWindow();
    expect(window.add(totals({ recordsRead: 0n }, 0))).toBeNull();
    expect(window.add(totals({ recordsRead: 100n }, 1))).toBe(100);
    expect(window.add(totals({ recordsRead: 400n }, 4))).toBe(100);
    expect(window.add(totals({ recordsRead: 400n }, 8))).toBe(50);
    expect(window.add(totals({ recordsRead: 400n }, 14))).toBe(0);
    expect(window.add(totals({ recordsRead: 500n }, 15))).toBeCloseTo(100 / 11);
  });

  it('is the average at first, for whoever comes in the middle', () => {
    expect(createRateWindow().add(totals({ recordsRead: 200n }, 10))).toBe(20);
  });
});
