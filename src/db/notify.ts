import type { Notification } from 'pg';

import { connect, type Queryable } from './pool.ts';
import { ident, sql } from './sql.ts';

/** What the channels say. Any role may listen to any channel, so no payload holds more than an opaque run id. */
export const channels = {
  /** There may be work; the payload is empty. */
  work: 'flux_work',
  /** A run has new events or a new state; the payload is its id. */
  runEvents: 'flux_run_events',
} as const;
export type Channel = (typeof channels)[keyof typeof channels];

/** Tells who waits that there may be something. Nothing depends on it: whoever waits polls as well. Rejects if it cannot tell. */
export type SendHint = (channel: Channel, payload?: string) => Promise<void>;

export interface Hint {
  channel: Channel;
  payload: string;
}

/** Sends what is due at once. */
export type SendHints = (hints: readonly Hint[]) => Promise<void>;

/** A connection that hears hints for as long as it lives. */
export interface HintEar {
  /** Resolves when it listens. */
  hear(channel: Channel, on: (payload: string) => void): Promise<void>;
  /** Sends a hint the way that this ear hears them, so that it can test itself. */
  readonly send: SendHint;
  /** Aborts with the reason when the connection is lost. */
  readonly lost: AbortSignal;
  end(): Promise<void>;
}

/** Makes a new ear. Rejects when it cannot be connected. */
export type OpenEar = () => Promise<HintEar>;

/** How hints travel: through the database, or where there are many processes through Redis (src/redis). */
export interface HintWay {
  readonly send: SendHint;
  readonly open: OpenEar;
}

/**
 * Sends a hint. Outside the transaction that it tells about: NOTIFY takes a lock of the whole database at commit (measured:
 * 16 writers fell from 4,955 to 1,190 transactions a second).
 */
export async function notify(db: Queryable, channel: Channel, payload = ''): Promise<void> {
  await notifyAll(db, [{ channel, payload }]);
}

/** Sends hints in one transaction, which costs one flush of the log and the lock once. */
export async function notifyAll(db: Queryable, hints: readonly Hint[]): Promise<void> {
  await db.query(sql`
    select pg_notify(hint.channel, hint.payload)
    from unnest(
      ${hints.map(({ channel }) => channel)}::text[],
      ${hints.map(({ payload }) => payload)}::text[]
    ) as hint (channel, payload)
  `);
}

/** Sends hints as notifications, those at hand in one transaction. */
export function notifyAllThrough(db: Queryable): SendHints {
  return (hints) => notifyAll(db, hints);
}

/** For a way on which each hint is a message of its own. */
export function oneByOne(send: SendHint): SendHints {
  return async (hints) => {
    await Promise.all(hints.map(({ channel, payload }) => send(channel, payload)));
  };
}

/** Sends hints as notifications. */
export function notifyThrough(db: Queryable): SendHint {
  return (channel, payload) => notify(db, channel, payload);
}

/**
 * Hears hints as notifications, over a connection of its own. A transaction pooler in between swallows them without a word, so
 * whoever depends on them tests them first (events/listen.ts).
 *
 * @throws UNAVAILABLE the server does not answer
 */
export async function listenThrough(options: { url: string; applicationName: string }): Promise<HintEar> {
  const lost = new AbortController();
  const connection = await connect({ ...options, onError: (error) => lost.abort(error) });
  connection.client.on('end', () => lost.abort(new Error('the connection ended')));
  return {
    async hear(channel, on) {
      connection.client.on('notification', (message: Notification) => {
        if (message.channel === channel) on(message.payload ?? '');
      });
      await connection.query(sql`listen ${ident(channel)}`);
    },
    send: notifyThrough(connection),
    lost: lost.signal,
    end: () => connection.end(),
  };
}
