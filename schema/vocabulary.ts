import { contentTypes, useCases } from '../src/domain/vocabulary.ts';
import type { partitionKinds, partitionStatuses, runStages, runStatuses } from '../src/domain/run.ts';
import { builder } from './builder.ts';

export const RunStatusRef = builder.enumType('RunStatus', {
  description: 'Where a run stands. COMPLETED, FAILED and CANCELLED are endings.',
  values: {
    PENDING: { description: 'Queued; no worker has taken it yet.' },
    IN_PROGRESS: { description: 'Being worked on.' },
    COMPLETED: { description: 'Done: its counts add up and its load is visible.' },
    FAILED: { description: 'Ended by the failure that it names; nothing of it is visible.' },
    CANCELLING: { description: 'Asked to stop; its workers have not acknowledged yet.' },
    CANCELLED: { description: 'Stopped on request; nothing of it is visible.' },
  } satisfies Record<(typeof runStatuses)[number], { description: string }>,
});

export const RunStageRef = builder.enumType('RunStage', {
  description: 'What a run does, or is at.',
  values: {
    INGEST: { description: 'Pins the source and checks every record against the contract.' },
    TRANSFORM: { description: 'Derives, renames, casts and filters.' },
    EXPORT: { description: 'Writes to the destination.' },
    FULL: { description: 'All three.' },
  } satisfies Record<(typeof runStages)[number], { description: string }>,
});

export const PartitionStatusRef = builder.enumType('PartitionStatus', {
  description: 'Where a partition stands.',
  values: {
    AVAILABLE: { description: 'A worker may take it.' },
    EXECUTING: { description: 'A worker holds it under a lease.' },
    COMPLETED: { description: 'Done.' },
    FAILED: { description: 'Failed for good, and its run with it.' },
    CANCELLED: { description: 'Not needed any more, because its run is over.' },
  } satisfies Record<(typeof partitionStatuses)[number], { description: string }>,
});

export const PartitionKindRef = builder.enumType('PartitionKind', {
  description: 'What a partition is for.',
  values: {
    PLAN: { description: 'Pins the source and cuts it into the other partitions.' },
    BATCHES: { description: 'Reads, checks, transforms and writes one part of the source, batch by batch.' },
    PUBLISH: { description: 'Checks that all counts add up and makes the load visible.' },
  } satisfies Record<(typeof partitionKinds)[number], { description: string }>,
});

/** `ai-training` is not a name in GraphQL: enumeration values are its upper-case form. */
function wireNames(values: readonly string[]): Record<string, { value: string; description: string }> {
  return Object.fromEntries(
    values.map((value) => [
      value.toUpperCase().replaceAll('-', '_'),
      { value, description: `\`${value}\` in payloads and definitions.` },
    ]),
  );
}

export const ContentTypeRef = builder.enumType('ContentType', {
  description: 'What a pipeline’s records are made of; tables count as TEXT.',
  values: wireNames(contentTypes),
});

export const UseCaseRef = builder.enumType('UseCase', {
  description: 'What a pipeline’s result is for.',
  values: wireNames(useCases),
});
