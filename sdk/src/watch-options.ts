import type { Client } from './client.ts';
import type { OnConnection } from './connection-state.ts';
import { follow, type StreamHooks, type StreamOptions } from './stream.ts';
import { wait } from './wait.ts';

export interface WatchOptions {
  /** Ends the stream. */
  signal?: AbortSignal;
  /** Told whether the stream is live, and by which way it comes. */
  onConnection?: OnConnection;
  /** For how long to try in vain before UNAVAILABLE is thrown, in milliseconds; without end if absent. */
  giveUpAfterMs?: number;
}

type Own<Item> = Pick<StreamOptions<Item>, 'open' | 'findPlace' | 'cursorOf' | 'isLast' | 'after'>;

/** `follow` with what a client and the caller's options say. */
export function watch<Item>(
  client: Client,
  own: Own<Item>,
  options: WatchOptions,
): AsyncGenerator<Item, void, undefined> {
  return follow({
    ...own,
    transports: client.settings.transports,
    token: client.settings.token,
    reporter: client.report(options.onConnection),
    signal: options.signal ? AbortSignal.any([options.signal, client.closed]) : client.closed,
    giveUpAfterMs: options.giveUpAfterMs ?? Number.POSITIVE_INFINITY,
  });
}

/** Asks again and again until the caller is gone. `ask` gives what is new, and whether to ask again at once. */
export async function* poll<Item>(
  client: Client,
  hooks: StreamHooks,
  ask: () => Promise<{ items: readonly Item[]; more: boolean; last?: boolean }>,
): AsyncGenerator<Item, void, undefined> {
  while (!hooks.signal.aborted) {
    hooks.used(await client.settings.token.current());
    const { items, more, last } = await ask();
    hooks.connected();
    yield* items;
    if (last) return;
    if (!more) await wait(client.settings.pollIntervalMs, hooks.signal);
  }
}
