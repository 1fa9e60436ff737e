import type { Pool } from '../db/pool.ts';
import { readEventPage, type RunEvent, type RunPosition } from '../db/run-events.ts';
import { isFinalStatus, type RunStatus } from '../db/run-vocabulary.ts';
import { inTenant } from '../db/transaction.ts';
import { toFluxError } from '../errors.ts';
import { metrics } from '../telemetry/metrics.ts';
import type { Hints, Log } from './listen.ts';
import { pause } from './pause.ts';
import { readAfter, unknownRun } from './read-after.ts';
import { abortable } from './stream.ts';
import { createWaker } from './waker.ts';

export type { RunEvent } from '../db/run-events.ts';

/** Events that exist no longer (or not for the reader): never silence. Both ends are included. */
export interface StreamGap {
  kind: 'gap';
  runId: string;
  fromSeq: bigint;
  toSeq: bigint;
  reason: 'RETENTION';
}

/** The attempt is over and its last event has been delivered. After a resume the same cursor goes on. */
export interface StreamEnd {
  kind: 'end';
  runId: string;
  status: RunStatus;
  attempt: number;
  lastSeq: bigint;
}

export type RunEventItem = RunEvent | StreamGap | StreamEnd;

export interface FollowDeps {
  pool: Pool;
  hints: Hints;
  logger: Log;
  /** How often a reader looks without a hint, milliseconds. */
  pollMs?: number;
}

export interface FollowRequest {
  /** Mints a fresh sealed context: one of them does not outlive a long stream. */
  sealed: () => string;
  runId: string;
  /** The last event the client has; 0 for none. */
  afterSeq: bigint;
  signal: AbortSignal;
}

const pageLimit = 256; // also the most that is held for a reader who has stopped reading
const defaultPollMs = 1_000;
const hintGraceMs = 500; // a hint is debounced; what a poll finds younger than this was not missed yet
const retryMs = { first: 100, most: 5_000 };

/**
 * Checks a request before anything is streamed, so that the client gets a named refusal and not a broken stream.
 *
 * @throws NOT_FOUND no such run for this caller: unknown, another agency's and above the clearance read alike
 * @throws CURSOR_EXPIRED retention has removed events after the cursor
 */
export async function checkFollow(
  { pool }: Pick<FollowDeps, 'pool'>,
  { sealed, runId, afterSeq }: Omit<FollowRequest, 'signal'>,
): Promise<void> {
  await inTenant(pool, sealed(), (tx) => readAfter(tx, { runId, afterSeq, limit: 1 }));
}

/**
 * Every event of a run after a position, in order and exactly once, as long as it lasts; then `StreamEnd`, and it is over.
 *
 * The table is the truth: interest in hints is registered before the first read, each wait ends by hint or poll, and the next
 * read continues after the last event delivered. Sequence numbers are contiguous, so a hole is seen and said (`StreamGap`).
 * The stream outlives a database that is away for a while. Nothing is held before the first `next()` or after `return()`.
 *
 * @throws NOT_FOUND in the stream when the run ceases to exist for the caller
 */
export function follow(deps: FollowDeps, request: FollowRequest): AsyncIterableIterator<RunEventItem, void, void> {
  return abortable((signal) => readOn(deps, { ...request, signal }), request.signal);
}

async function* readOn(deps: FollowDeps, request: FollowRequest): AsyncGenerator<RunEventItem, void, void> {
  const { runId, signal } = request;
  const waker = createWaker(deps.hints, runId);
  try {
    let last = request.afterSeq;
    let hinted = true;
    let waited = false; // history is read late by intention and says nothing of delivery
    while (!signal.aborted) {
      waker.arm();
      const page = await readPatiently(deps, request, last);
      if (!page) return;
      if (!hinted && isLate(page)) deps.hints.missed();
      for (const event of page.events) {
        if (event.seq > last + 1n) yield gap(runId, last + 1n, event.seq - 1n);
        if (waited) metrics.deliverySeconds.observe(Math.max(0, (Date.now() - event.at.getTime()) / 1_000));
        yield event;
        last = event.seq;
      }
      if (page.events.length === pageLimit) continue;
      if (page.lastSeq > last) yield gap(runId, last + 1n, page.lastSeq);
      last = page.lastSeq > last ? page.lastSeq : last;
      if (isFinalStatus(page.status)) {
        yield { kind: 'end', runId, status: page.status, attempt: page.attempt, lastSeq: page.lastSeq };
        return;
      }
      const pollMs = (deps.pollMs ?? defaultPollMs) * (0.9 + Math.random() / 5); // readers must not poll in step
      hinted = await waker.wait(pollMs, signal);
      waited = true;
    }
  } finally {
    waker.release();
  }
}

type Page = RunPosition & { events: RunEvent[] };

/** Reads a page; waits out a database that does not answer. @returns undefined when the signal ended first */
async function readPatiently(deps: FollowDeps, request: FollowRequest, afterSeq: bigint): Promise<Page | undefined> {
  const { sealed, runId, signal } = request;
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      const page = await inTenant(deps.pool, sealed(), (tx) =>
        readEventPage(tx, { runId, afterSeq, limit: pageLimit }),
      );
      if (page) return page;
      throw unknownRun(runId);
    } catch (cause) {
      const error = toFluxError(cause);
      if (!error.retryable) throw error;
      if (failures === 0) deps.logger.warn({ err: error, runId }, 'a stream waits for the database');
      await pause(Math.min(retryMs.most, retryMs.first * 2 ** failures), signal);
    }
  }
  return undefined;
}

function isLate({ events, readAt }: Page): boolean {
  const oldest = events[0];
  return oldest !== undefined && readAt.getTime() - oldest.at.getTime() > hintGraceMs;
}

function gap(runId: string, fromSeq: bigint, toSeq: bigint): StreamGap {
  return { kind: 'gap', runId, fromSeq, toSeq, reason: 'RETENTION' };
}
