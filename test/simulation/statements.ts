import { sha256 } from '../../src/crypto/hash.ts';
import type { PartitionCounts } from '../../src/db/partitions.ts';
import type { NewRunEvent, RunTransition } from '../../src/db/run-events-append.ts';
import type { StepTotal } from '../../src/db/step-counts.ts';
import { canBecome } from '../../src/domain/run.ts';
import { isFinalStatus } from '../../src/db/run-vocabulary.ts';
import { FluxError } from '../../src/errors.ts';
import { goingOn, requireOneEnding } from '../../src/events/append.ts';
import type { PlantedBug } from './bugs.ts';
import {
  blocked,
  type CheckpointRow,
  isLocked,
  lock,
  newPartition,
  type PartitionRow,
  seePartition,
  seePartitions,
  seeRun,
  type Session,
  type Storage,
  txOf,
} from './storage.ts';

/** What a worker holds: the numbers of a product's Claim. */
export interface Taken {
  partitionNo: number;
  kind: PartitionRow['kind'];
  epoch: number;
  takings: number;
  takenOver: boolean;
  worker: string;
}

export interface Clock {
  /** Decides on leases. */
  now: number;
  /** The database's. */
  at: number;
  bug: PlantedBug | null;
}

const key = (no: number): string => `p${String(no)}`;
const over = ['COMPLETED', 'FAILED', 'CANCELLED'];

function write(session: Session, row: PartitionRow): void {
  txOf(session).partitions.set(row.no, row);
}

/**
 * flux.claim_partition: a transaction of its own, which is not flushed. Locked rows are skipped; an abandoned partition goes
 * before a fresh one.
 */
export function claimPartition(db: Storage, { now, bug }: Clock, worker: string, leaseMs: number): Taken | null {
  const free = [...db.partitions.values()].filter(
    (p) =>
      ((p.status === 'AVAILABLE' && p.availableAt <= now) ||
        (p.status === 'EXECUTING' && (p.leaseExpiresAt as number) < now)) &&
      !isLocked(db, key(p.no), 'update', null),
  );
  free.sort(
    (a, b) =>
      Number(a.status === 'AVAILABLE') - Number(b.status === 'AVAILABLE') ||
      (a.leaseExpiresAt ?? 0) - (b.leaseExpiresAt ?? 0) ||
      a.no - b.no,
  );
  const next = free[0];
  if (next === undefined) return null;
  const taken: PartitionRow = {
    ...next,
    status: 'EXECUTING',
    epoch: bug === 'the epoch is not raised at a claim' && next.epoch > 0 ? next.epoch : next.epoch + 1,
    takings: next.takings + 1,
    leasedBy: worker,
    leaseExpiresAt: now + leaseMs,
    holder: null,
  };
  db.partitions.set(taken.no, taken);
  db.unflushed.push(next);
  const { no, kind, epoch, takings } = taken;
  return { partitionNo: no, kind, epoch, takings, takenOver: next.status === 'EXECUTING', worker };
}

function held(row: PartitionRow | undefined, { epoch, worker }: Taken, now: number): row is PartitionRow {
  return (
    row?.epoch === epoch &&
    row.leasedBy === worker &&
    row.status === 'EXECUTING' &&
    (row.leaseExpiresAt as number) > now
  );
}

/** flux.heartbeat and flux.cancel_requested: a transaction of its own. @throws blocked */
export function heartbeat(
  db: Storage,
  { now }: Clock,
  taken: Taken,
  leaseMs: number,
): { held: boolean; cancelRequested: boolean } {
  const row = db.partitions.get(taken.partitionNo);
  const cancelRequested = row?.epoch === taken.epoch && row.status === 'EXECUTING' && row.cancelBy !== null;
  if (!held(row, taken, now)) return { held: false, cancelRequested };
  if (isLocked(db, key(row.no), 'noKeyUpdate', null)) throw blocked;
  db.partitions.set(row.no, { ...row, leaseExpiresAt: now + leaseMs });
  return { held: true, cancelRequested };
}

/** flux.rescue_partitions. @returns the backends to end */
export function expiredHolders(db: Storage, { now }: Clock): Session[] {
  const holders: Session[] = [];
  for (const { status, leaseExpiresAt, holder } of db.partitions.values()) {
    if (status === 'EXECUTING' && (leaseExpiresAt as number) < now && holder?.open === true) holders.push(holder);
  }
  return holders;
}

/** recordHolder(): a transaction of its own. @throws blocked */
export function recordHolder(db: Storage, { now }: Clock, session: Session, taken: Taken): boolean {
  const row = db.partitions.get(taken.partitionNo);
  if (!held(row, taken, now)) return false;
  if (isLocked(db, key(row.no), 'noKeyUpdate', null)) throw blocked;
  db.partitions.set(row.no, { ...row, holder: session });
  db.unflushed = [];
  return true;
}

/** lockLease(): the fence. @throws blocked */
export function lockLease(db: Storage, { now, bug }: Clock, session: Session, taken: Taken): boolean {
  const row = db.partitions.get(taken.partitionNo);
  if (!held(row, taken, now)) return false;
  if (bug !== 'the fence takes no lock on the lease row') lock(db, session, key(row.no), 'keyShare');
  return true;
}

/** Every update asks for the epoch once more, which alone would hide a fence without a lock: that mistake leaves it out. */
function ours(
  db: Storage,
  session: Session,
  { partitionNo, epoch, worker }: Taken,
  bug: PlantedBug | null,
): PartitionRow | null {
  const row = seePartition(db, session, partitionNo);
  if (row?.status !== 'EXECUTING') return null;
  if ((row.epoch !== epoch || row.leasedBy !== worker) && bug !== 'the fence takes no lock on the lease row')
    return null;
  lock(db, session, key(row.no), 'noKeyUpdate');
  return row;
}

/** advancePartition() with the steps' counts. @throws blocked */
export function advancePartition(
  db: Storage,
  session: Session,
  { bug }: Pick<Clock, 'bug'>,
  taken: Taken,
  { counts, steps, progress }: { counts: PartitionCounts; steps: readonly StepTotal[]; progress: boolean },
): boolean {
  const row = ours(db, session, taken, bug);
  if (row === null) return false;
  write(session, { ...row, counts, steps, takings: progress ? 0 : row.takings });
  return true;
}

const unleased = { leasedBy: null, leaseExpiresAt: null, holder: null } as const;

/** @throws blocked */
export function finishPartition(
  db: Storage,
  session: Session,
  { bug }: Pick<Clock, 'bug'>,
  taken: Taken,
  status: 'COMPLETED' | 'FAILED' | 'CANCELLED',
): boolean {
  const row = ours(db, session, taken, bug);
  if (row === null) return false;
  write(session, { ...row, ...unleased, status });
  return true;
}

/** @throws blocked */
export function returnPartition(
  db: Storage,
  session: Session,
  { now, bug }: Clock,
  taken: Taken,
  { delayMs, uncount }: { delayMs: number; uncount: boolean },
): boolean {
  const row = ours(db, session, taken, bug);
  if (row === null) return false;
  const takings = Math.max(row.takings - (uncount ? 1 : 0), 0);
  write(session, { ...row, ...unleased, status: 'AVAILABLE', availableAt: now + delayMs, takings });
  return true;
}

export function insertPartitions(session: Session, ranges: readonly { from: number; to: number }[]): void {
  ranges.forEach(({ from, to }, i) => write(session, newPartition(i + 1, 'BATCHES', from, to)));
}

/** insertPublishWhenDone(): the caller has locked the run. */
export function insertPublishWhenDone(db: Storage, session: Session): number | null {
  const all = seePartitions(db, session);
  if (!all.every(({ kind, status }) => kind !== 'PUBLISH' && status === 'COMPLETED')) return null;
  write(session, newPartition(all.length, 'PUBLISH'));
  return all.length;
}

/** lockPartitions(), lockRunPartitions(). @throws blocked */
export function lockPartitions(db: Storage, session: Session, mode: 'noKeyUpdate' | 'update'): void {
  for (const { no } of seePartitions(db, session)) lock(db, session, key(no), mode);
}

/** @throws blocked */
export function lockRun(db: Storage, session: Session): void {
  lock(db, session, 'run', 'noKeyUpdate');
}

/** cancelOtherPartitions(), cancelIdlePartitions(), cancelAllPartitions(). @returns those that were held @throws blocked */
export function cancelPartitions(
  db: Storage,
  session: Session,
  which: { statuses: readonly PartitionRow['status'][]; except?: number },
): { partition: number; epoch: number }[] {
  const chosen = seePartitions(db, session).filter(
    ({ no, status }) => no !== which.except && which.statuses.includes(status),
  );
  for (const row of chosen) {
    lock(db, session, key(row.no), 'noKeyUpdate');
    write(session, { ...row, ...unleased, status: 'CANCELLED' });
  }
  return chosen.flatMap(({ no, epoch, status }) => (status === 'EXECUTING' ? [{ partition: no, epoch }] : []));
}

/** askHoldersToStop(). @throws blocked */
export function askHoldersToStop(db: Storage, session: Session, deadline: number): number[] {
  const chosen = seePartitions(db, session).filter(({ status }) => status === 'EXECUTING');
  for (const row of chosen) {
    lock(db, session, key(row.no), 'noKeyUpdate');
    write(session, { ...row, cancelBy: deadline });
  }
  return chosen.map(({ no }) => no);
}

/** reopenPartitions(). @throws blocked */
export function reopenPartitions(db: Storage, session: Session, now: number): number {
  const chosen = seePartitions(db, session).filter(({ status }) => status === 'FAILED' || status === 'CANCELLED');
  for (const row of chosen) {
    lock(db, session, key(row.no), 'noKeyUpdate');
    write(session, { ...row, ...unleased, status: 'AVAILABLE', takings: 0, availableAt: now, cancelBy: null });
  }
  return chosen.length;
}

/** flux.overdue_cancels. */
export function isCancelOverdue(db: Storage, { now }: Clock): boolean {
  for (const { status, cancelBy } of db.partitions.values()) {
    if (status === 'EXECUTING' && cancelBy !== null && cancelBy <= now) return true;
  }
  return false;
}

export function countOpenPartitions(db: Storage, session: Session): number {
  return seePartitions(db, session).filter(({ status }) => status === 'AVAILABLE' || status === 'EXECUTING').length;
}

/**
 * appendEvents(): numbers under the run's row lock, with flux.guard_run's and appendEvents' rules taken from the product.
 *
 * @returns the last number
 * @throws INVALID_TRANSITION, blocked
 */
export function appendEvents(
  db: Storage,
  session: Session,
  { at, bug }: Clock,
  events: readonly Pick<NewRunEvent, 'name' | 'partitionNo' | 'data'>[],
  transition?: RunTransition,
): number {
  requireOneEnding(events as NewRunEvent[], transition);
  const counted = bug === 'an event’s number is count(*) + 1' && transition === undefined;
  if (!counted) lockRun(db, session);
  const run = seeRun(db, session);
  const from = transition?.from ?? goingOn;
  if (!(from as readonly string[]).includes(run.status)) {
    throw new FluxError('INVALID_TRANSITION', `the run is ${run.status}, not ${from.join(' or ')}`);
  }
  const to = transition?.to ?? run.status;
  if (to !== run.status && !canBecome(run.status, to)) {
    throw new FluxError('INVALID_TRANSITION', `the run is ${run.status} and cannot become ${to}`);
  }
  const attempt = run.attempt + (transition?.resumes ? 1 : 0);
  const tx = txOf(session);
  const before = counted ? db.events.length + tx.events.length : run.lastSeq;
  events.forEach(({ name, partitionNo, data }, i) => {
    tx.events.push({ seq: before + i + 1, at, name, partitionNo: partitionNo ?? null, attempt, data: data ?? {} });
  });
  if (!counted) {
    const failureCode = transition?.failure?.code ?? (isFinalStatus(run.status) ? null : run.failureCode);
    tx.run = { status: to, attempt, lastSeq: before + events.length, failureCode };
  }
  return before + events.length;
}

/** flux.checkpoint_intact. */
export function isIntact(row: CheckpointRow): boolean {
  if (!sha256(row.body).equals(row.hash)) return false;
  let told: Record<string, unknown>;
  try {
    told = JSON.parse(row.body.toString('utf8')) as Record<string, unknown>;
  } catch {
    return false;
  }
  return (
    told['partition'] === row.partitionNo &&
    told['version'] === row.version &&
    told['epoch'] === row.epoch &&
    told['previousHash'] === (row.previousHash?.toString('hex') ?? null)
  );
}

const versions = (db: Storage, partitionNo: number): CheckpointRow[] =>
  db.checkpoints.filter((row) => row.partitionNo === partitionNo);

function isChained(db: Storage, row: CheckpointRow): boolean {
  if (row.version === 1) return true;
  const before = versions(db, row.partitionNo).find(({ version }) => version === row.version - 1);
  return before !== undefined && row.previousHash !== null && before.hash.equals(row.previousHash);
}

/**
 * flux.save_checkpoint with its unique key and flux.guard_checkpoint.
 *
 * @throws CHECKPOINT_CORRUPTED, INVALID_TRANSITION, INTERNAL (23505)
 */
export function saveCheckpoint(
  db: Storage,
  session: Session,
  row: Omit<CheckpointRow, 'previousHash'>,
  { unique }: { unique: boolean },
): void {
  const tx = txOf(session);
  const stored = versions(db, row.partitionNo);
  const undone = tx.undo.find(({ partitionNo }) => partitionNo === row.partitionNo);
  const seen = undone ? stored.filter(({ version }) => version <= undone.version) : stored;
  const before = seen.find(({ version }) => version === row.version - 1);
  if (row.version > 1 && before === undefined) {
    throw new FluxError('CHECKPOINT_CORRUPTED', `checkpoint ${String(row.version)} has no predecessor`);
  }
  const complete: CheckpointRow = { ...row, previousHash: before?.hash ?? null };
  if (!isIntact(complete)) throw new FluxError('CHECKPOINT_CORRUPTED', 'it does not match its SHA-256 or its place');
  // The trigger reads what is committed and what this transaction wrote itself.
  if (over.includes(seePartition(db, session, row.partitionNo)?.status ?? '')) {
    throw new FluxError('INVALID_TRANSITION', 'the partition is over');
  }
  if (seen.some(({ version }) => version === row.version)) {
    if (!unique) return;
    throw new FluxError('INTERNAL', 'duplicate key value violates unique constraint');
  }
  const expected = undone?.version ?? expectedCheckpoint(db, row.partitionNo);
  if (unique && expected !== null && expected !== row.version - 1) {
    throw new FluxError('CHECKPOINT_CORRUPTED', `it does not follow ${String(expected)}, the last of the history`);
  }
  tx.checkpoints.push(complete);
}

/** flux.expected_checkpoint: the newest version that the history has. */
function expectedCheckpoint(db: Storage, partitionNo: number): number | null {
  const told = db.events.findLast(
    (event) =>
      event.partitionNo === partitionNo && (event.name === 'CheckpointSaved' || event.name === 'CheckpointRejected'),
  );
  if (told === undefined) return null;
  return Number(told.data[told.name === 'CheckpointSaved' ? 'version' : 'resumesFrom']);
}

/** flux.checkpoint_problem(c) is null. */
export function verifies(db: Storage, row: CheckpointRow): boolean {
  if (!isIntact(row) || !isChained(db, row)) return false;
  const told = db.events.findLast(
    ({ name, partitionNo, data }) =>
      name === 'CheckpointSaved' && partitionNo === row.partitionNo && data['version'] === row.version,
  );
  return (
    told?.data['hash'] === row.hash.toString('hex') && row.version <= (expectedCheckpoint(db, row.partitionNo) ?? 0)
  );
}

/** flux.load_checkpoint. @throws CHECKPOINT_CORRUPTED every one is, or is lost */
export function loadCheckpoint(
  db: Storage,
  { bug }: Pick<Clock, 'bug'>,
  partitionNo: number,
): { row: CheckpointRow; corrupted: number[] } | null {
  const expected = expectedCheckpoint(db, partitionNo) ?? 0;
  const corrupted: number[] = [];
  for (const row of versions(db, partitionNo).sort((a, b) => b.version - a.version)) {
    for (let lost = corrupted.at(-1) ?? expected + 1; lost > row.version + 1; lost -= 1) corrupted.push(lost - 1);
    if (bug === 'a checkpoint’s hash is not looked at' || verifies(db, row)) return { row, corrupted };
    corrupted.push(row.version);
  }
  if (corrupted.length > 0 || expected > 0) {
    throw new FluxError('CHECKPOINT_CORRUPTED', `none of ${corrupted.join(', ')} verifies`);
  }
  return null;
}
