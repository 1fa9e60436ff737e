/** The words of schedules and backfills, as the tables' CHECK constraints and the wire have them. */

export const catchUps = ['NONE', 'LATEST', 'ALL'] as const;
export type CatchUp = (typeof catchUps)[number];

export const overlaps = ['SKIP', 'QUEUE', 'ALLOW'] as const;
export type Overlap = (typeof overlaps)[number];

export type ScheduleStatus = 'ACTIVE' | 'PAUSED' | 'REMOVED';
export type TickStatus = 'STARTED' | 'WAITING' | 'SKIPPED' | 'FAILED';

export const backfillSteps = ['DAY', 'MONTH'] as const;
export type BackfillStep = (typeof backfillSteps)[number];
export type BackfillStatus = 'RUNNING' | 'COMPLETED' | 'FAILED' | 'CANCELLING' | 'CANCELLED';
export type BackfillDateStatus = 'PENDING' | 'RUNNING' | 'COMPLETED' | 'FAILED' | 'CANCELLED';
