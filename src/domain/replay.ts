import type { ReplayedEvent, StoredPartition, StoredState } from '../db/run-replay.ts';
import { isFinalStatus, type RunStatus } from '../db/run-vocabulary.ts';

/** A partition's state as far as events decide it: whether somebody holds it now is no part of a history. */
export type DerivedPartition = Omit<StoredPartition, 'status'> & {
  status: 'OPEN' | 'COMPLETED' | 'FAILED' | 'CANCELLED';
};

/** What a run's history says that it has become. */
export type DerivedState = Omit<StoredState, 'partitions'> & { partitions: DerivedPartition[] };

interface Batch {
  read: number;
  written: number;
  rejected: number;
  filtered: number;
  bytes: number;
}

interface Partition {
  kind: StoredPartition['kind'];
  status: DerivedPartition['status'];
  /** By number, from 1. */
  batches: Batch[];
  hash: string | null;
}

interface State {
  status: RunStatus;
  attempt: number;
  lastSeq: bigint;
  failureCode: string | null;
  partitions: Map<number, Partition>;
}

/**
 * Derives a run's state from its events alone: the same events give the same state, on any machine, at any time. Nothing else is
 * read and nothing is done.
 *
 * @throws TypeError the events are not 1, 2, 3, ... or speak of partitions that they never opened
 */
export function deriveState(events: readonly ReplayedEvent[]): DerivedState {
  const state: State = {
    status: 'PENDING',
    attempt: 1,
    lastSeq: 0n,
    failureCode: null,
    partitions: new Map([[0, opened('PLAN')]]),
  };
  for (const event of events) {
    if (event.seq !== state.lastSeq + 1n) {
      throw new TypeError(`expected event ${String(state.lastSeq + 1n)}, found ${String(event.seq)}`);
    }
    state.lastSeq = event.seq;
    apply(state, event);
  }
  return {
    status: state.status,
    attempt: state.attempt,
    lastSeq: String(state.lastSeq),
    failureCode: state.failureCode,
    partitions: [...state.partitions].sort(([a], [b]) => a - b).map(([partition, of]) => summed(partition, of)),
  };
}

/** Retention takes a finished run's checkpoints, a whole partition at a time: what is not kept cannot be compared. */
export function withoutExpired(derived: DerivedState, stored: DerivedState): DerivedState {
  if (!isFinalStatus(stored.status)) return derived;
  const expired = new Set(
    stored.partitions.flatMap(({ partition, checkpoint }) => (checkpoint === 0 ? [partition] : [])),
  );
  return {
    ...derived,
    partitions: derived.partitions.map((partition) =>
      expired.has(partition.partition) ? { ...partition, checkpoint: 0, hash: null } : partition,
    ),
  };
}

/** The part of what the tables have that events decide. */
export function comparable(stored: StoredState): DerivedState {
  return {
    ...stored,
    partitions: stored.partitions.map((partition) => ({
      ...partition,
      status: partition.status === 'AVAILABLE' || partition.status === 'EXECUTING' ? 'OPEN' : partition.status,
    })),
  };
}

function opened(kind: Partition['kind']): Partition {
  return { kind, status: 'OPEN', batches: [], hash: null };
}

function apply(state: State, event: ReplayedEvent): void {
  const { name, data } = event;
  switch (name) {
    case 'RunStarted':
    case 'PartitionClaimed':
    case 'PartitionTakenOver':
      state.status = 'IN_PROGRESS';
      return;
    case 'PlanMade':
      return openPartitions(state, Number(data['partitions']));
    case 'BatchCommitted':
      return commitBatch(state, event);
    case 'CheckpointSaved':
      partitionOf(state, event).hash = String(data['hash']);
      return;
    case 'CheckpointRejected':
      return undoBatches(state, event);
    case 'CancelRequested':
      return askToStop(state, event);
    case 'CancelAcknowledged':
      partitionOf(state, event).status = 'CANCELLED';
      return;
    case 'RunResumed':
      return resume(state, event);
    case 'RunCompleted':
      return end(state, 'COMPLETED');
    case 'RunFailed':
      state.failureCode = String(data['code']);
      partitionOf(state, event).status = 'FAILED';
      return end(state, 'FAILED');
    case 'RunCancelled':
      return end(state, 'CANCELLED');
    // What these tell of is in the others, or is no state.
    case 'RunQueued':
    case 'StageStarted':
    case 'StageCompleted':
    case 'RecordsRejected':
    case 'PartitionRetried':
    case 'PartitionYielded':
    case 'LoadPublished':
    case 'PackageWritten':
  }
}

function openPartitions({ partitions }: State, count: number): void {
  for (let no = 1; no <= count; no += 1) partitions.set(no, opened('BATCHES'));
  (partitions.get(0) as Partition).status = 'COMPLETED';
}

function commitBatch(state: State, event: ReplayedEvent): void {
  const { data } = event;
  const partition = partitionOf(state, event);
  const count = (name: keyof Batch): number => Number(data[name]);
  partition.batches[Number(data['batch']) - 1] = {
    read: count('read'),
    written: count('written'),
    rejected: count('rejected'),
    filtered: count('filtered'),
    bytes: count('bytes'),
  };
  if (data['last'] !== true) return;
  partition.status = 'COMPLETED';
  const { partitions } = state;
  if ([...partitions.values()].every(({ status }) => status === 'COMPLETED')) {
    partitions.set(partitions.size, opened('PUBLISH'));
  }
}

function undoBatches(state: State, event: ReplayedEvent): void {
  const partition = partitionOf(state, event);
  partition.batches.length = Number(event.data['resumesFrom']);
  partition.hash = typeof event.data['hash'] === 'string' ? event.data['hash'] : null;
}

function resume(state: State, { attempt }: ReplayedEvent): void {
  state.status = 'PENDING';
  state.attempt = attempt;
  state.failureCode = null;
  for (const partition of state.partitions.values()) {
    if (partition.status !== 'COMPLETED') partition.status = 'OPEN';
  }
}

/** Those that nobody held are cancelled with the request; the holders of the others have to acknowledge it. */
function askToStop(state: State, { data }: ReplayedEvent): void {
  state.status = 'CANCELLING';
  const waitingFor = new Set(data['waitingFor'] as number[]);
  for (const [partitionNo, partition] of state.partitions) {
    if (partition.status === 'OPEN' && !waitingFor.has(partitionNo)) partition.status = 'CANCELLED';
  }
}

/** What is left when a run ends is the publishing that completed it, or is not needed any more. */
function end(state: State, status: 'COMPLETED' | 'FAILED' | 'CANCELLED'): void {
  state.status = status;
  for (const partition of state.partitions.values()) {
    if (partition.status === 'OPEN') partition.status = status === 'COMPLETED' ? 'COMPLETED' : 'CANCELLED';
  }
}

function partitionOf({ partitions }: State, { seq, name, partitionNo }: ReplayedEvent): Partition {
  const partition = partitionNo === null ? undefined : partitions.get(partitionNo);
  if (partition) return partition;
  throw new TypeError(
    `event ${String(seq)}, ${name}, speaks of partition ${String(partitionNo)}, which was never opened`,
  );
}

function summed(partition: number, { kind, status, batches, hash }: Partition): DerivedPartition {
  const sum = (name: keyof Batch): string => String(batches.reduce((total, batch) => total + batch[name], 0));
  return {
    partition,
    kind,
    status,
    read: sum('read'),
    written: sum('written'),
    rejected: sum('rejected'),
    filtered: sum('filtered'),
    bytes: sum('bytes'),
    checkpoint: batches.length,
    hash,
  };
}
