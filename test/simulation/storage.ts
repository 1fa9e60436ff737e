import type { PartitionCounts } from '../../src/db/partitions.ts';
import type { EventName, PartitionKind, PartitionStatus, RunStatus } from '../../src/db/run-vocabulary.ts';
import type { StepTotal } from '../../src/db/step-counts.ts';
import { FluxError } from '../../src/errors.ts';

/**
 * A database for one run, made of values: READ COMMITTED, row locks of the modes that the product uses, writes that are seen by
 * others at COMMIT and not before. A statement that would wait throws `blocked` and is tried again.
 *
 * Its statements (statements.ts) are held to the real ones by test/db/simulated-statements.test.ts.
 */
export interface RunRow {
  status: RunStatus;
  attempt: number;
  lastSeq: number;
  failureCode: string | null;
}

export interface PartitionRow {
  no: number;
  kind: PartitionKind;
  status: PartitionStatus;
  epoch: number;
  takings: number;
  availableAt: number;
  leasedBy: string | null;
  leaseExpiresAt: number | null;
  holder: Session | null;
  cancelBy: number | null;
  counts: PartitionCounts;
  steps: readonly StepTotal[];
  /** Of the source's records, counted from 0; `to` is the first that is not in it. */
  from: number;
  to: number;
}

export interface EventRow {
  seq: number;
  at: number;
  name: EventName;
  partitionNo: number | null;
  attempt: number;
  data: Record<string, unknown>;
}

export interface CheckpointRow {
  partitionNo: number;
  version: number;
  epoch: number;
  status: string;
  body: Buffer;
  hash: Buffer;
  previousHash: Buffer | null;
}

export interface SinkRow {
  recordNo: number;
  content: string;
  rejected: boolean;
  partitionNo: number;
  epoch: number;
}

export interface AuditRow {
  action: string;
  partitionNo: number;
  batch: number;
  hash: string;
}

/** What the plan pinned. */
export interface SourceObject {
  version: number;
  count: number;
}

/** What COMMITs put into the database, in their order. */
export interface Commit {
  at: number;
  partitionNo: number | null;
  epoch: number | null;
  rows: number;
  events: readonly EventName[];
}

interface Transaction {
  run: RunRow | undefined;
  partitions: Map<number, PartitionRow>;
  events: EventRow[];
  checkpoints: CheckpointRow[];
  rows: SinkRow[];
  audit: AuditRow[];
  object: SourceObject | undefined;
  published: boolean;
  /** Removals, worked when it commits; the locks let nobody else write meanwhile. */
  undo: { partitionNo: number; version: number; span: { first: number; last: number } | null }[];
}

/** A backend and its connection. */
export interface Session {
  readonly name: string;
  open: boolean;
  tx: Transaction | null;
  /** When its client last sent something. */
  heardOf: number;
}

/** FOR KEY SHARE, FOR NO KEY UPDATE (what an UPDATE takes), FOR UPDATE. */
export type LockMode = 'keyShare' | 'noKeyUpdate' | 'update';

/** Thrown by a statement that waits for a lock: nothing of it has happened. */
export const blocked = new Error('waits for a lock');

export interface Storage {
  run: RunRow;
  partitions: Map<number, PartitionRow>;
  events: EventRow[];
  checkpoints: CheckpointRow[];
  rows: SinkRow[];
  audit: AuditRow[];
  object: SourceObject | null;
  published: boolean;
  readonly commits: Commit[];
  /** What partitions were before claims that a crash of the server may still undo: any later COMMIT flushes them. */
  unflushed: PartitionRow[];
  readonly locks: Map<string, Map<Session, LockMode>>;
}

const noCounts: PartitionCounts = { read: 0, written: 0, rejected: 0, filtered: 0, bytes: 0 };

export function newPartition(no: number, kind: PartitionKind, from = 0, to = 0): PartitionRow {
  return {
    no,
    kind,
    status: 'AVAILABLE',
    epoch: 0,
    takings: 0,
    availableAt: 0,
    leasedBy: null,
    leaseExpiresAt: null,
    holder: null,
    cancelBy: null,
    counts: noCounts,
    steps: [],
    from,
    to,
  };
}

/** A database in which a run has just been queued. */
export function createStorage(): Storage {
  return {
    run: { status: 'PENDING', attempt: 1, lastSeq: 1, failureCode: null },
    partitions: new Map([[0, newPartition(0, 'PLAN')]]),
    events: [{ seq: 1, at: 0, name: 'RunQueued', partitionNo: null, attempt: 1, data: {} }],
    checkpoints: [],
    rows: [],
    audit: [],
    object: null,
    published: false,
    commits: [],
    unflushed: [],
    locks: new Map(),
  };
}

export function openSession(name: string): Session {
  return { name, open: true, tx: null, heardOf: 0 };
}

export function begin(session: Session): Transaction {
  session.tx = {
    run: undefined,
    partitions: new Map(),
    events: [],
    checkpoints: [],
    rows: [],
    audit: [],
    object: undefined,
    published: false,
    undo: [],
  };
  return session.tx;
}

/** The open transaction. Writing without one is a mistake of the simulation itself. */
export function txOf({ tx }: Session): Transaction {
  if (tx === null) throw new TypeError('expected an open transaction');
  return tx;
}

export function commit(db: Storage, session: Session, at: number): void {
  const tx = txOf(session);
  db.unflushed = [];
  for (const { partitionNo, version, span } of tx.undo) {
    db.checkpoints = db.checkpoints.filter((row) => row.partitionNo !== partitionNo || row.version <= version);
    if (span) db.rows = db.rows.filter((row) => row.recordNo < span.first || row.recordNo > span.last);
  }
  if (tx.run) db.run = tx.run;
  for (const [no, row] of tx.partitions) db.partitions.set(no, row);
  db.events.push(...tx.events);
  db.checkpoints.push(...tx.checkpoints);
  db.rows.push(...tx.rows);
  db.audit.push(...tx.audit);
  if (tx.object) db.object = tx.object;
  if (tx.published) db.published = true;
  const carrier = tx.rows[0] ?? tx.checkpoints[0];
  db.commits.push({
    at,
    partitionNo: carrier?.partitionNo ?? null,
    epoch: carrier?.epoch ?? null,
    rows: tx.rows.length,
    events: tx.events.map(({ name }) => name),
  });
  rollback(db, session);
}

export function rollback(db: Storage, session: Session): void {
  session.tx = null;
  for (const holders of db.locks.values()) holders.delete(session);
}

/** The connection has gone, or the backend was ended: what was not committed never happened. */
export function endSession(db: Storage, session: Session): void {
  session.open = false;
  rollback(db, session);
}

export function requireOpen({ open }: Session): void {
  if (!open) throw new FluxError('UNAVAILABLE', 'Connection terminated unexpectedly');
}

/** Whether another session's lock stands in the way. */
export function isLocked(db: Storage, key: string, mode: LockMode, session: Session | null): boolean {
  const holders = db.locks.get(key);
  if (holders === undefined) return false;
  for (const [holder, held] of holders) if (holder !== session && conflicts(held, mode)) return true;
  return false;
}

/** Locks a row until the transaction ends. @throws blocked */
export function lock(db: Storage, session: Session, key: string, mode: LockMode): void {
  if (isLocked(db, key, mode, session)) throw blocked;
  let holders = db.locks.get(key);
  if (holders === undefined) db.locks.set(key, (holders = new Map()));
  const before = holders.get(session);
  if (before === undefined || strength[mode] > strength[before]) holders.set(session, mode);
}

const strength: Record<LockMode, number> = { keyShare: 1, noKeyUpdate: 2, update: 3 };

function conflicts(a: LockMode, b: LockMode): boolean {
  return a === 'update' || b === 'update' || (a === 'noKeyUpdate' && b === 'noKeyUpdate');
}

/** A partition as the session sees it: its own writes, or what others have committed. */
export function seePartition(db: Storage, session: Session | null, no: number): PartitionRow | undefined {
  return session?.tx?.partitions.get(no) ?? db.partitions.get(no);
}

export function seePartitions(db: Storage, session: Session | null): PartitionRow[] {
  const numbers = new Set([...db.partitions.keys(), ...(session?.tx?.partitions.keys() ?? [])]);
  return [...numbers].sort((a, b) => a - b).map((no) => seePartition(db, session, no) as PartitionRow);
}

export function seeRun(db: Storage, session: Session | null): RunRow {
  return session?.tx?.run ?? db.run;
}
