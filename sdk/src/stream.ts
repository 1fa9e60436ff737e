import type { ConnectionReporter } from './connection-state.ts';
import { FluxError } from './errors.ts';
import type { Transport } from './settings.ts';
import type { TokenKeeper } from './token.ts';
import { backoffMs, wait } from './wait.ts';

export interface StreamHooks {
  signal: AbortSignal;
  /** The way is open: the server has taken the token. */
  connected(): void;
  /** The token that is sent. */
  used(token: string): void;
}

export interface StreamOptions<Item> {
  transports: readonly Transport[];
  /** Items after `cursor` by one way, until the server completes them. @throws FluxError */
  open(transport: Transport, cursor: string | null, hooks: StreamHooks): AsyncIterable<Item>;
  /**
   * Asks once where a stream that begins from now on stands, before any way is opened and until it is known; absent where `after` null
   * is a place of its own. @throws FluxError
   */
  findPlace?(hooks: Pick<StreamHooks, 'signal' | 'used'>): Promise<string | null>;
  /** Where to go on after an item; null where it cannot be said. */
  cursorOf(item: Item): string | null;
  /** Whether nothing follows this item. */
  isLast(item: Item): boolean;
  after: string | null;
  token: TokenKeeper;
  reporter: ConnectionReporter;
  signal: AbortSignal;
  /** For how long to try in vain before giving up, in milliseconds. */
  giveUpAfterMs: number;
}

/** A stream that came by another way than the best tries the best again after so long, then after twice as long, and so on. */
const firstClimbMs = 30_000;
const lastClimbMs = 600_000;
/** More subscriptions than the caller may have at once pass; one that costs too much does not. */
const limitedRoundsMax = 5;

/**
 * One stream out of as many connections as it takes. It goes on after the last item that it handed out, so that over whatever breaks
 * each item comes once and in order. A round tries every way; the next round waits longer. Ends with the last item, with the server's
 * completion, or when `signal` aborts.
 *
 * @throws FluxError what no other try can change; UNAVAILABLE after `giveUpAfterMs`
 */
export async function* follow<Item>(options: StreamOptions<Item>): AsyncGenerator<Item, void, undefined> {
  const { transports, reporter, signal } = options;
  let cursor = options.after;
  let way = 0;
  let rounds = 0;
  let refusals = 0;
  let climbMs = firstClimbMs;
  let brokenAt = Date.now();
  try {
    while (!signal.aborted) {
      const transport = transports[way] as Transport;
      const attempt = new AbortController();
      let climbed = false;
      let isOpen = false;
      let isPlaced = true;
      let sent = '';
      const climb = (): void => {
        climbed = true;
        attempt.abort();
      };
      const timer = way > 0 ? setTimeout(climb, climbMs) : undefined;
      const succeeded = (): void => {
        isOpen = true;
        rounds = 0;
        refusals = 0;
        reporter.live(transport);
      };
      const hooks: StreamHooks = {
        signal: AbortSignal.any([signal, attempt.signal]),
        connected: succeeded,
        used: (token) => (sent = token),
      };
      try {
        if (cursor === null && options.findPlace) {
          isPlaced = false;
          cursor = await options.findPlace(hooks);
          isPlaced = true;
        }
        for await (const item of options.open(transport, cursor, hooks)) {
          succeeded();
          cursor = options.cursorOf(item) ?? cursor;
          yield item;
          if (options.isLast(item)) return;
        }
        if (!climbed) return;
      } catch (cause) {
        if (signal.aborted) return;
        // What breaks off because of the climb may say so in a way of its own.
        if (climbed) continue;
        if (!(cause instanceof FluxError)) throw cause;
        if (isOpen) brokenAt = Date.now();
        reporter.broken(cause);
        if (cause.class === 'AUTHENTICATION') {
          refusals += 1;
          if (refusals > 2) throw cause;
          await options.token.replace(sent);
          continue;
        }
        if (!cause.retryable && !(cause.code === 'LIMIT_EXCEEDED' && rounds < limitedRoundsMax)) throw cause;
        if (Date.now() - brokenAt >= options.giveUpAfterMs) throw cause;
        // What was open until now is tried first again; what did not open makes room for the next way. Where the place is not known, none was tried.
        if (!isOpen && isPlaced) way += 1;
        if (isOpen || !isPlaced || way >= transports.length) {
          way = 0;
          rounds += 1;
          await wait(isOpen ? backoffMs(1) : backoffMs(rounds), signal);
        }
      } finally {
        clearTimeout(timer);
        attempt.abort();
        if (climbed) {
          way = 0;
          climbMs = Math.min(lastClimbMs, climbMs * 2);
        }
      }
    }
  } finally {
    reporter.end();
  }
}
