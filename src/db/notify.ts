import type { Notification } from 'pg';

import type { Connection, Queryable } from './pool.ts';
import { ident, sql } from './sql.ts';

/** What the channels say. Any role may listen to any channel, so no payload holds more than an opaque run id. */
export const channels = {
  /** There may be work; the payload is empty. */
  work: 'flux_work',
  /** A run has new events or a new state; the payload is its id. */
  runEvents: 'flux_run_events',
} as const;
export type Channel = (typeof channels)[keyof typeof channels];

/**
 * Sends a hint. Outside the transaction that it tells about: NOTIFY takes a lock of the whole database at commit (measured:
 * 16 writers fell from 4,955 to 1,190 transactions a second).
 */
export async function notify(db: Queryable, channel: Channel, payload = ''): Promise<void> {
  await notifyAll(db, [{ channel, payload }]);
}

/** Sends hints in one transaction, which costs one flush of the log and the lock once. */
export async function notifyAll(db: Queryable, hints: readonly { channel: Channel; payload: string }[]): Promise<void> {
  await db.query(sql`
    select pg_notify(hint.channel, hint.payload)
    from unnest(
      ${hints.map(({ channel }) => channel)}::text[],
      ${hints.map(({ payload }) => payload)}::text[]
    ) as hint (channel, payload)
  `);
}

/**
 * Listens on a channel for as long as the connection lives. A transaction pooler in between swallows notifications without a
 * word, so whoever depends on them tests them first (events/listen.ts).
 */
export async function listen(connection: Connection, channel: Channel, on: (payload: string) => void): Promise<void> {
  connection.client.on('notification', (message: Notification) => {
    if (message.channel === channel) on(message.payload ?? '');
  });
  await connection.query(sql`listen ${ident(channel)}`);
}
