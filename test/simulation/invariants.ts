import { comparable, deriveState } from '../../src/domain/replay.ts';
import { isEnding, isFinalStatus } from '../../src/db/run-vocabulary.ts';
import type { Subscriber } from './bystanders.ts';
import { recordAt } from './source.ts';
import { isIntact } from './statements.ts';
import type { CheckpointRow, EventRow, SinkRow, Storage } from './storage.ts';
import type { World } from './world.ts';

/** What does not hold at a schedule's end; I8 is row-level security's and has its own tests. */
export function findViolations(world: World, subscriber: Subscriber): string[] {
  const { db } = world;
  return [
    ...exactlyOnce(db, world.log),
    ...gaplessEvents(db),
    ...monotonicProgress(db),
    ...oneEpochAtATime(db),
    ...atomicBatches(db),
    ...intactCheckpoints(db, world.damaged),
    ...terminal(db),
    ...nothingAfterCancel(db),
    ...wholeSubscription(db, subscriber),
    ...replays(db),
  ];
}

const text = ({ recordNo, content, rejected }: Pick<SinkRow, 'recordNo' | 'content' | 'rejected'>): string =>
  `${String(recordNo)} ${content} ${rejected ? 'rejected' : 'written'}`;

function exactlyOnce({ run, rows, object, published }: Storage, log: readonly string[]): string[] {
  const wrong: string[] = [];
  if (run.failureCode === 'NOT_RECONCILED' || run.failureCode === 'INTERNAL') {
    wrong.push(`I1 the run failed with ${run.failureCode} (${log.at(-1) ?? ''})`);
  }
  const seen = new Map<string, number>();
  for (const row of rows) seen.set(text(row), (seen.get(text(row)) ?? 0) + 1);
  for (const [row, count] of seen) if (count > 1) wrong.push(`I1 ${String(count)} times: ${row}`);
  if (object === null) return wrong;
  const expected = Array.from({ length: object.count }, (_, at) => text(recordAt(object, at)));
  const known = new Set(expected);
  for (const row of seen.keys()) if (!known.has(row)) wrong.push(`I1 not in the pinned source: ${row}`);
  if (run.status === 'COMPLETED') {
    for (const row of expected) if (!seen.has(row)) wrong.push(`I1 lost: ${row}`);
  }
  if (published !== (run.status === 'COMPLETED'))
    wrong.push(`I1 the run is ${run.status}, published: ${String(published)}`);
  return wrong;
}

function gaplessEvents({ run, events }: Storage): string[] {
  const wrong: string[] = [];
  const sorted = [...events].sort((a, b) => a.seq - b.seq);
  sorted.forEach(({ seq, at, attempt, name }, i) => {
    if (seq !== i + 1) wrong.push(`I2 event ${String(i + 1)} has number ${String(seq)}`);
    if (seq !== events[i]?.seq) wrong.push(`I2 event ${String(seq)} was not committed in its order`);
    if (at < (sorted[i - 1]?.at ?? 0)) wrong.push(`I2 event ${String(seq)} is older than the one before it`);
    const next = sorted[i + 1];
    const last = next === undefined ? isFinalStatus(run.status) : next.attempt !== attempt;
    if (isEnding(name) !== last) wrong.push(`I2 event ${String(seq)}, ${name}, of attempt ${String(attempt)}`);
  });
  if (run.lastSeq !== events.length) wrong.push(`I2 the run counts ${String(run.lastSeq)} of ${String(events.length)}`);
  return wrong;
}

interface Progress {
  version: number;
  epoch: number;
}

/** Walks the batches of each partition in commit order. */
function monotonicProgress({ events }: Storage): string[] {
  const wrong: string[] = [];
  const at = new Map<number, Progress>();
  for (const { name, partitionNo, data, seq } of events) {
    if (partitionNo === null) continue;
    const before = at.get(partitionNo) ?? { version: 0, epoch: 0 };
    if (name === 'CheckpointRejected') at.set(partitionNo, { ...before, version: data['resumesFrom'] as number });
    if (name !== 'BatchCommitted') continue;
    const now = { version: data['batch'] as number, epoch: data['epoch'] as number };
    if (now.version !== before.version + 1)
      wrong.push(`I3 event ${String(seq)}: batch ${String(now.version)} after ${String(before.version)}`);
    if (now.epoch < before.epoch)
      wrong.push(`I3 event ${String(seq)}: epoch ${String(now.epoch)} after ${String(before.epoch)}`);
    at.set(partitionNo, now);
  }
  return wrong;
}

function oneEpochAtATime({ events, commits }: Storage): string[] {
  const wrong: string[] = [];
  const newest = new Map<number, number>();
  for (const { name, partitionNo, data, seq } of events) {
    const epoch = data['epoch'];
    if (partitionNo === null || typeof epoch !== 'number') continue;
    const known = newest.get(partitionNo) ?? 0;
    if (epoch < known) wrong.push(`I4 event ${String(seq)}, ${name}, of epoch ${String(epoch)} after ${String(known)}`);
    const taking = name === 'PartitionClaimed' || name === 'PartitionTakenOver';
    if (taking && epoch === known) wrong.push(`I4 event ${String(seq)}: epoch ${String(epoch)} was taken twice`);
    newest.set(partitionNo, Math.max(known, epoch));
  }
  const rows = new Map<number, number>();
  for (const { partitionNo, epoch } of commits) {
    if (partitionNo === null || epoch === null) continue;
    if (epoch < (rows.get(partitionNo) ?? 0))
      wrong.push(`I4 partition ${String(partitionNo)}: rows of epoch ${String(epoch)} after a later one’s`);
    rows.set(partitionNo, epoch);
  }
  return wrong;
}

/** The batches that count: those that a rejected checkpoint has not undone. */
function standingBatches(events: readonly EventRow[], partitionNo: number): EventRow[] {
  const batches: EventRow[] = [];
  for (const event of events) {
    if (event.partitionNo !== partitionNo) continue;
    if (event.name === 'CheckpointRejected') batches.length = event.data['resumesFrom'] as number;
    if (event.name === 'BatchCommitted') batches[(event.data['batch'] as number) - 1] = event;
  }
  return batches;
}

function atomicBatches({ partitions, events, checkpoints, rows, audit }: Storage): string[] {
  const wrong: string[] = [];
  for (const { no, counts } of partitions.values()) {
    const batches = standingBatches(events, no);
    const saved = checkpoints.filter(({ partitionNo }) => partitionNo === no);
    if (saved.length !== batches.length) {
      wrong.push(`I5 partition ${String(no)}: ${String(saved.length)} checkpoints, ${String(batches.length)} batches`);
    }
    const committed = rows.filter(({ partitionNo }) => partitionNo === no).length;
    const told = batches.reduce((sum, { data }) => sum + (data['read'] as number), 0);
    if (committed !== told || counts.read !== told) {
      wrong.push(
        `I5 partition ${String(no)}: ${String(committed)} rows, ${String(told)} told, ${String(counts.read)} counted`,
      );
    }
    // What the history says was saved, because the schedule may have damaged what is stored.
    for (const { name, partitionNo, data } of events) {
      if (name !== 'CheckpointSaved' || partitionNo !== no) continue;
      const found = audit.some(
        (entry) => entry.partitionNo === no && entry.batch === data['version'] && entry.hash === data['hash'],
      );
      if (!found) wrong.push(`I5 partition ${String(no)}: batch ${String(data['version'])} is not audited`);
    }
  }
  return wrong;
}

/** What a schedule has damaged itself is the product's to notice, and no violation. */
function intactCheckpoints({ checkpoints }: Storage, damaged: boolean): string[] {
  if (damaged) return [];
  const before = (row: CheckpointRow): CheckpointRow | undefined =>
    checkpoints.find(({ partitionNo, version }) => partitionNo === row.partitionNo && version === row.version - 1);
  return checkpoints.flatMap((row) => {
    const chained = row.version === 1 || (row.previousHash !== null && before(row)?.hash.equals(row.previousHash));
    const place = `${String(row.partitionNo)}/${String(row.version)}`;
    return chained === true && isIntact(row) ? [] : [`I6 checkpoint ${place} does not verify`];
  });
}

function terminal({ run, partitions }: Storage): string[] {
  if (!isFinalStatus(run.status)) return [`I7 the run is still ${run.status}`];
  const open = [...partitions.values()].filter(({ status }) => status === 'AVAILABLE' || status === 'EXECUTING');
  return open.map(({ no, status }) => `I7 the run is ${run.status} and partition ${String(no)} is ${status}`);
}

function nothingAfterCancel({ events }: Storage): string[] {
  let requested = false;
  const wrong: string[] = [];
  for (const { name, seq } of events) {
    if (name === 'CancelRequested') requested = true;
    if (name === 'RunResumed') requested = false;
    if (requested && name === 'BatchCommitted') wrong.push(`I9 event ${String(seq)}: a batch after the cancel`);
  }
  return wrong;
}

function wholeSubscription({ events }: Storage, { received }: Subscriber): string[] {
  const same = received.length === events.length && received.every(({ seq }, i) => seq === events[i]?.seq);
  return same ? [] : [`I10 the subscriber has ${String(received.length)} events of ${String(events.length)}`];
}

/** The product's own replay of the history has to come to what the tables have. */
function replays({ run, partitions, events, checkpoints }: Storage): string[] {
  try {
    const derived = deriveState(events.map((event) => ({ ...event, seq: BigInt(event.seq) })));
    const stored = comparable({
      status: run.status,
      attempt: run.attempt,
      lastSeq: String(run.lastSeq),
      failureCode: run.failureCode,
      partitions: [...partitions.values()]
        .sort((a, b) => a.no - b.no)
        .map(({ no, kind, status, counts }) => {
          const newest = checkpoints
            .filter(({ partitionNo }) => partitionNo === no)
            .sort((a, b) => b.version - a.version)[0];
          return {
            partition: no,
            kind,
            status,
            read: String(counts.read),
            written: String(counts.written),
            rejected: String(counts.rejected),
            filtered: String(counts.filtered),
            bytes: String(counts.bytes),
            checkpoint: newest?.version ?? 0,
            hash: newest?.hash.toString('hex') ?? null,
          };
        }),
    });
    // What the schedule itself damaged is no state that events decide.
    const plain = (state: typeof derived): string =>
      JSON.stringify({ ...state, partitions: state.partitions.map((partition) => ({ ...partition, hash: '' })) });
    return plain(derived) === plain(stored) ? [] : [`replay: derived ${plain(derived)}, stored ${plain(stored)}`];
  } catch (cause) {
    return [`replay: ${(cause as Error).message}`];
  }
}
