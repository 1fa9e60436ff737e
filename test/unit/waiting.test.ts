import { readFileSync } from 'node:fs';
import path from 'node:path';

import { expect, it } from 'vitest';

import type { RunStandstill } from '../../src/db/run-waiting.ts';
import { type WaitingCode, waitingCodes, waitingReasonOf } from '../../src/domain/waiting.ts';

const readAt = new Date('2026-01-05T12:00:00Z');
/** One partition that could be taken now, a worker, and nobody before it. */
const next: RunStandstill = {
  ...{ runId: 'r', status: 'PENDING', agencyEnabled: true, cancelDeadline: null },
  ...{ held: 0, abandoned: 0, idle: 1, nextAt: readAt, ahead: 0 },
  ...{ workers: 1, draining: 0, executing: 0, cap: null, agenciesFirst: 0, readAt },
};
const later = new Date(readAt.getTime() + 2_500);

/** What brings each about. That the database says so of real runs is shown in test/db/waiting.test.ts and test/api/run-control.test.ts. */
const causes: Record<WaitingCode, Partial<RunStandstill>> = {
  QUEUED: { ahead: 2 },
  FAIR_SHARE: { agenciesFirst: 1 },
  AGENCY_CAP: { cap: 3, executing: 3 },
  NO_WORKER: { workers: 0 },
  DRAINING: { workers: 0, draining: 1 },
  BACKING_OFF: { nextAt: later, ahead: null },
  BEING_REASSIGNED: { status: 'IN_PROGRESS', abandoned: 1 },
  CANCELLING: { status: 'CANCELLING', held: 1, cancelDeadline: later },
  AGENCY_DISABLED: { agencyEnabled: false },
};

it.each(waitingCodes)(
  'a run waits for the reason %s when its cause is there, and the operators’ page says what helps',
  (code) => {
    expect(waitingReasonOf({ ...next, ...causes[code] })?.code).toBe(code);
    const page = readFileSync(path.join(import.meta.dirname, '..', '..', 'docs', 'runs.md'), 'utf8');
    expect(page).toContain(`| \`${code}\` |`);
  },
);

it('says until when where the wait ends by itself, and the place where there is a queue', () => {
  expect(waitingReasonOf({ ...next, ...causes.BACKING_OFF })).toMatchObject({ until: later, queuePosition: null });
  expect(waitingReasonOf({ ...next, ...causes.CANCELLING })).toMatchObject({ until: later, queuePosition: null });
  expect(waitingReasonOf({ ...next, ...causes.QUEUED })).toMatchObject({ until: null, queuePosition: 3 });
});

it('gives no reason while a worker has it, and when it is over', () => {
  expect(waitingReasonOf({ ...next, status: 'IN_PROGRESS', held: 1 })).toBeNull();
  for (const status of ['COMPLETED', 'FAILED', 'CANCELLED'] as const) {
    expect(waitingReasonOf({ ...next, status, idle: 0, nextAt: null })).toBeNull();
  }
});
