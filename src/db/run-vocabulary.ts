/** The words of runs, as the tables' CHECK constraints and the wire have them. */

export const runStatuses = ['PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLING', 'CANCELLED'] as const;
export type RunStatus = (typeof runStatuses)[number];

/** A run in one of these is over: its attempt has an ending event and nothing follows it. */
export const finalRunStatuses = ['COMPLETED', 'FAILED', 'CANCELLED'] as const satisfies readonly RunStatus[];

export const partitionStatuses = ['AVAILABLE', 'EXECUTING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const;
export type PartitionStatus = (typeof partitionStatuses)[number];

export const partitionKinds = ['PLAN', 'BATCHES', 'PUBLISH'] as const;
export type PartitionKind = (typeof partitionKinds)[number];

/** What a run may be asked for. */
export const runStages = ['INGEST', 'TRANSFORM', 'EXPORT', 'FULL'] as const;
export type RunStage = (typeof runStages)[number];

/** What a step belongs to, in the order of the data. */
export const stepStages = ['INGEST', 'TRANSFORM', 'EXPORT'] as const;
export type StepStage = (typeof stepStages)[number];

export const eventNames = [
  'RunQueued',
  'RunStarted',
  'PlanMade',
  'StageStarted',
  'PartitionClaimed',
  'BatchCommitted',
  'CheckpointSaved',
  'RecordsRejected',
  'StageCompleted',
  'PartitionTakenOver',
  'PartitionRetried',
  'PartitionYielded',
  'CheckpointRejected',
  'LoadPublished',
  'PackageWritten',
  'CancelRequested',
  'CancelAcknowledged',
  'RunResumed',
  'RunCompleted',
  'RunFailed',
  'RunCancelled',
] as const;
export type EventName = (typeof eventNames)[number];

/** The last event of an attempt. */
export const endingEventNames = ['RunCompleted', 'RunFailed', 'RunCancelled'] as const satisfies readonly EventName[];

export function isFinalStatus(status: RunStatus): status is (typeof finalRunStatuses)[number] {
  return (finalRunStatuses as readonly RunStatus[]).includes(status);
}

export function isEnding(name: EventName): name is (typeof endingEventNames)[number] {
  return (endingEventNames as readonly EventName[]).includes(name);
}
