import { once } from 'node:events';

import { createClient } from '@redis/client';

import type { HintEar, HintWay } from '../db/notify.ts';
import { metrics } from '../telemetry/metrics.ts';

/**
 * Hints over Redis, publish and subscribe. What a message says is what a notification says: an opaque run id at most, nothing of
 * a tenant. Redis keeps nothing, so losing it loses nothing; until it is back every reader's poll does the work.
 *
 * The sender's connection is up or down. It comes back by itself; meanwhile hints are counted and dropped, because a hint that
 * comes late tells nothing that a poll has not found.
 */
export interface RedisHints extends HintWay {
  /** Resolves when Redis answers. */
  check(): Promise<unknown>;
  stop(): Promise<void>;
}

export interface RedisLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

const connectMs = 2_000;
/** What is silent for so long is gone; pings make a living one say something. */
const silenceMs = 10_000;
const pingMs = 4_000;
const reconnectMs = { first: 100, most: 5_000 };
/** Longest that anybody waits for one hint to leave. */
const sendMs = 1_000;

/**
 * Connects in the background: a Redis that is not there yet is waited for.
 *
 * @param url `redis[s]://[user][:password@]host[:port]`; `rediss` is TLS whose certificate and name are verified
 */
export function startRedisHints({ url, logger }: { url: string; logger: RedisLog }): RedisHints {
  const sender = createClient({
    ...settings(url),
    disableOfflineQueue: true,
    socket: { ...settings(url).socket, reconnectStrategy: backOff },
  });
  let down = false;
  sender.on('error', (err: unknown) => {
    if (down) return;
    down = true;
    logger.warn({ err: reasonOf(err) }, 'Redis is away; readers poll until it is back');
  });
  sender.on('ready', () => {
    down = false;
    logger.info({}, 'Redis carries hints');
  });
  // Rejects only when it is given up, by `stop`.
  sender.connect().catch(() => undefined);

  const send: HintWay['send'] = async (channel, payload = '') => {
    try {
      if (!sender.isReady) throw new Error('Redis is away');
      await within(sendMs, sender.publish(channel, payload));
    } catch {
      metrics.hintsUnsent.inc();
    }
  };
  return {
    send,
    async open() {
      // An ear tests itself over the sender.
      if (!sender.isReady) await within(connectMs, once(sender, 'ready'));
      return openEar(url, send);
    },
    check: () => sender.ping(),
    stop() {
      if (sender.isOpen) sender.destroy();
      return Promise.resolve();
    },
  };
}

/** A connection that subscribes can do nothing else in RESP 2, so it is one of its own. */
async function openEar(url: string, send: HintWay['send']): Promise<HintEar> {
  const lost = new AbortController();
  const listener = createClient({ ...settings(url), socket: { ...settings(url).socket, reconnectStrategy: false } });
  listener.on('error', (err: unknown) => lost.abort(reasonOf(err)));
  listener.on('end', () => lost.abort(new Error('the connection to Redis ended')));
  await listener.connect();
  return {
    async hear(channel, on) {
      await listener.subscribe(channel, on);
    },
    send,
    lost: lost.signal,
    end() {
      if (listener.isOpen) listener.destroy();
      return Promise.resolve();
    },
  };
}

function settings(url: string) {
  return {
    url,
    RESP: 2 as const, // spoken by every server
    // Nothing that a user needs more rights for than those of docs/security.md.
    disableClientInfo: true,
    pingInterval: pingMs,
    commandsQueueMaxLength: 1_000,
    maintNotifications: 'disabled' as const,
    socket: { connectTimeout: connectMs, socketTimeout: silenceMs },
  };
}

function backOff(failures: number): number {
  return Math.min(reconnectMs.most, reconnectMs.first * 2 ** failures) * (0.5 + Math.random() / 2);
}

/** Without what the client attaches: its options hold the password. */
function reasonOf(cause: unknown): Error {
  return new Error(cause instanceof Error ? cause.message : String(cause));
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${String(ms)} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
