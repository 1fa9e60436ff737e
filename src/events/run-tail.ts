import type { Pool } from '../db/pool.ts';
import { readEventPage, type RunEvent, type RunPosition } from '../db/run-events.ts';
import { isFinalStatus, type RunStatus } from '../db/run-vocabulary.ts';
import { inTenant } from '../db/transaction.ts';
import { type FluxError, toFluxError } from '../errors.ts';
import { metrics } from '../telemetry/metrics.ts';
import { createEventRing, type EventRing } from './event-ring.ts';
import type { Hints, Log } from './listen.ts';
import { patiently } from './patiently.ts';
import { unknownRun } from './read-after.ts';
import { joinWatch, type Readers, type WatchReader } from './shared-watch.ts';
import { createWaker } from './waker.ts';

/** The attempt is over and its last event has been delivered. After a resume the same cursor goes on. */
export interface StreamEnd {
  kind: 'end';
  runId: string;
  status: RunStatus;
  attempt: number;
  lastSeq: bigint;
}

export interface TailDeps {
  pool: Pool;
  hints: Hints;
  logger: Log;
  /** How often the tail looks without a hint, milliseconds. */
  pollMs?: number;
}

/**
 * The live end of a run's history, read once for everybody in this process who sees the same. Readers keep their own places:
 * sequence numbers are contiguous, so a place is in the ring, or behind it (`block`), or in front of it (wait).
 */
export interface RunTail {
  readonly ring: EventRing;
  /** The last event that is known; nobody is delivered more. Undefined until the first look. */
  head(): bigint | undefined;
  end(): StreamEnd | undefined;
  /** What ended the tail: the run does not exist any more for its readers. */
  failure(): FluxError | undefined;
  /** Events of the block of history that begins after `place`, none of them after the head. Read once for all who ask. */
  block(place: bigint, signal: AbortSignal): Promise<HistoryBlock>;
  /** Where history goes on after a place at which a block has nothing; null when nothing is left up to the head. */
  nextAfter(place: bigint, signal: AbortSignal): Promise<bigint | null>;
}

export interface HistoryBlock {
  events: readonly RunEvent[];
  /** The last place that it speaks of. */
  upTo: bigint;
}

const pageLimit = 256; // events in one read
const blocksKept = 8;
const defaultPollMs = 1_000;
const hintGraceMs = 500; // a hint is debounced; what a poll finds younger than this was not missed yet
const seqMax = 2n ** 62n;

/**
 * Joins the tail of a run, or starts it.
 *
 * @param viewer what decides what a reader sees; undefined for a tail of one's own
 */
export function joinTail(
  deps: TailDeps,
  { runId, viewer }: { runId: string; viewer: string | undefined },
  reader: WatchReader,
): { watch: RunTail; leave(): void } {
  const key = viewer === undefined ? undefined : `events ${runId} ${viewer}`;
  return joinWatch(deps, key, reader, (readers) => startTail(deps, runId, readers));
}

function startTail(deps: TailDeps, runId: string, readers: Readers): RunTail {
  const ring = createEventRing();
  const blocks = new Map<string, Promise<readonly RunEvent[]>>();
  let head: bigint | undefined;
  let end: StreamEnd | undefined;
  let failure: FluxError | undefined;

  const look = (afterSeq: bigint, limit: number, signal: AbortSignal): Promise<Page | undefined> =>
    readPatiently(deps, { sealed: readers.sealed, runId, afterSeq, limit, signal });

  const waker = createWaker(deps.hints, runId);
  const follow = async (): Promise<void> => {
    const { signal } = readers;
    try {
      // History is for those who ask for it: the tail begins where the run is now.
      for (let hinted = true, waited = false; !signal.aborted;) {
        waker.arm();
        const page = await look(head ?? seqMax, pageLimit, signal);
        if (!page) return;
        if (!hinted && isLate(page)) deps.hints.missed();
        if (waited) for (const { at } of page.events) observeDelivery(at);
        ring.append(page.events);
        const known = head;
        head = page.events.at(-1)?.seq ?? head ?? page.lastSeq;
        if (page.events.length < pageLimit && page.lastSeq > head) head = page.lastSeq;
        if (page.events.length < pageLimit && isFinalStatus(page.status)) {
          end = { kind: 'end', runId, status: page.status, attempt: page.attempt, lastSeq: page.lastSeq };
          return;
        }
        if (head !== known) readers.wakeAll();
        if (page.events.length === pageLimit) continue;
        const pollMs = (deps.pollMs ?? defaultPollMs) * (0.9 + Math.random() / 5); // processes must not poll in step
        hinted = await waker.wait(pollMs, signal);
        waited = true;
      }
    } catch (cause) {
      failure = toFluxError(cause);
    } finally {
      waker.release();
      readers.over();
      readers.wakeAll();
    }
  };

  const block = async (place: bigint, signal: AbortSignal): Promise<HistoryBlock> => {
    const size = BigInt(pageLimit);
    const from = (place / size) * size;
    const known = head ?? 0n;
    const upTo = from + size < known ? from + size : known;
    const key = `${String(from)}-${String(upTo)}`;
    let events = blocks.get(key);
    if (!events) {
      // For all who wait for it, so that the first of them may leave.
      events = look(from, pageLimit, readers.signal).then(
        (page) => page?.events.filter(({ seq }) => seq <= upTo) ?? [],
      );
      blocks.set(key, events);
      events.catch(() => blocks.delete(key));
      const oldest = blocks.keys().next().value;
      if (blocks.size > blocksKept && oldest !== undefined) blocks.delete(oldest);
    }
    await Promise.race([events, aborted(signal)]);
    return signal.aborted ? { events: [], upTo } : { events: await events, upTo };
  };

  // At once and not when the last look is answered: nobody waits any more.
  readers.signal.addEventListener('abort', () => waker.release(), { once: true });
  void follow();
  return {
    ring,
    head: () => head,
    end: () => end,
    failure: () => failure,
    block,
    async nextAfter(place, signal) {
      const page = await look(place, 1, signal);
      const next = page?.events[0]?.seq;
      return next === undefined || next > (head ?? 0n) ? null : next;
    },
  };
}

type Page = RunPosition & { events: RunEvent[] };

interface Look {
  sealed: () => string;
  runId: string;
  afterSeq: bigint;
  limit: number;
  signal: AbortSignal;
}

/** @returns undefined when the signal ended first @throws NOT_FOUND */
function readPatiently({ pool, logger }: TailDeps, look: Look): Promise<Page | undefined> {
  const { sealed, runId, afterSeq, limit, signal } = look;
  const read = async (): Promise<Page> => {
    const page = await inTenant(pool, sealed(), (tx) => readEventPage(tx, { runId, afterSeq, limit }));
    if (page) return page;
    throw unknownRun(runId);
  };
  return patiently(signal, read, (err) => logger.warn({ err, runId }, 'a stream waits for the database'));
}

function isLate({ events, readAt }: Page): boolean {
  const oldest = events[0];
  return oldest !== undefined && readAt.getTime() - oldest.at.getTime() > hintGraceMs;
}

function observeDelivery(at: Date): void {
  metrics.deliverySeconds.observe(Math.max(0, (Date.now() - at.getTime()) / 1_000));
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
