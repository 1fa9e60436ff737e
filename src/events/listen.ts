import { randomUuid } from '../crypto/random.ts';
import { channels, type HintEar, listenThrough, type OpenEar } from '../db/notify.ts';
import { toFluxError } from '../errors.ts';
import { metrics } from '../telemetry/metrics.ts';
import { firstOf, pause } from './pause.ts';

/**
 * The process's one ear for hints. It is connecting, listening, or stopped:
 *
 *   connecting -> listening   the ear stands and a hint of our own came back (the self-test)
 *   listening  -> connecting  the connection broke; every waiter is woken, because hints may have been lost meanwhile
 *   any        -> stopped     stop()
 *
 * A hint only shortens a wait. Nothing may depend on one: every reader polls as well.
 */
export interface Hints {
  /** Calls `wake` whenever the run may have changed; also after a reconnect. @returns takes the call back */
  on(runId: string, wake: () => void): () => void;
  /** A reader's poll found what no hint had told. The counter is an alert when it grows. */
  missed(): void;
  stats(): HintStats;
}

/** The key under which every hint about any run wakes. */
export const anyRun = '*';

export interface HintStats {
  listening: boolean;
  /** Readers waiting for hints now. */
  waiters: number;
  hints: number;
  reconnects: number;
  backstopFinds: number;
}

export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface ListenOptions {
  /** A direct connection: a transaction pooler in between swallows notifications. */
  url: string;
  /** Where hints travel another way than through the database. */
  open?: OpenEar;
  logger: Log;
  /** How long the self-test may take, milliseconds. */
  selfTestMs?: number;
}

const reconnectMs = { first: 100, most: 5_000 };

/**
 * Starts listening and resolves at once: the connection is made, tested and remade in the background, and until it stands the
 * readers' polls do the work.
 */
export function startHints(options: ListenOptions): Hints & { stop(): Promise<void>; listening(): Promise<void> } {
  const waiters = new Map<string, Set<() => void>>();
  const stopping = new AbortController();
  const stats = { listening: false, hints: 0, reconnects: 0, backstopFinds: 0 };
  let announce: (() => void)[] = [];

  const wake = (runId: string): void => {
    stats.hints += 1;
    for (const call of [...(waiters.get(runId) ?? []), ...(waiters.get(anyRun) ?? [])]) call();
  };
  const wakeAll = (): void => {
    for (const calls of [...waiters.values()]) for (const call of [...calls]) call();
  };
  const stands = (): void => {
    stats.listening = true;
    wakeAll();
    for (const call of announce) call();
    announce = [];
  };

  const done = (async () => {
    for (let failures = 0; !stopping.signal.aborted;) {
      const outcome = await listenOnce(options, { wake, stands, signal: stopping.signal });
      stats.listening = false;
      if (stopping.signal.aborted) return;
      failures = outcome.stood ? 1 : failures + 1;
      stats.reconnects += 1;
      wakeAll();
      options.logger.warn({ err: outcome.error, failures }, 'hints are interrupted; readers poll until they are back');
      await pause(
        Math.min(reconnectMs.most, reconnectMs.first * 2 ** failures) * (0.5 + Math.random() / 2),
        stopping.signal,
      );
    }
  })();

  return {
    on(runId, call) {
      const calls = waiters.get(runId) ?? new Set();
      waiters.set(runId, calls.add(call));
      return () => {
        calls.delete(call);
        if (calls.size === 0 && waiters.get(runId) === calls) waiters.delete(runId);
      };
    },
    missed() {
      metrics.notificationsMissed.inc();
      stats.backstopFinds += 1;
    },
    stats: () => ({ ...stats, waiters: [...waiters.values()].reduce((sum, calls) => sum + calls.size, 0) }),
    listening: () => (stats.listening ? Promise.resolve() : new Promise((resolve) => announce.push(resolve))),
    async stop() {
      stopping.abort();
      await done;
    },
  };
}

interface Ear {
  wake(runId: string): void;
  stands(): void;
  signal: AbortSignal;
}

/** One connection's life. Never throws: says why it ended and whether it had ever stood. */
async function listenOnce(options: ListenOptions, ear: Ear): Promise<{ stood: boolean; error: unknown }> {
  let stood = false;
  let open: HintEar | undefined;
  try {
    open = await (options.open ?? (() => listenThrough({ url: options.url, applicationName: 'flux hints' })))();
    const { lost } = open;
    const nonce = `test:${randomUuid()}`;
    const heard = new AbortController();
    await open.hear(channels.runEvents, (payload) => {
      if (payload === nonce) heard.abort();
      else if (!payload.startsWith('test:')) ear.wake(payload);
    });
    await open.send(channels.runEvents, nonce);
    await firstOf([heard.signal, lost, ear.signal], options.selfTestMs ?? 2_000);
    if (ear.signal.aborted) return { stood, error: undefined };
    if (!heard.signal.aborted) {
      throw lost.aborted
        ? lost.reason
        : new Error(
            'a hint of our own did not come back: is there a transaction pooler in between? LISTEN needs a direct connection',
          );
    }
    stood = true;
    options.logger.info({}, 'listening for hints');
    ear.stands();
    await firstOf([lost, ear.signal]);
    return { stood, error: lost.reason };
  } catch (cause) {
    return { stood, error: toFluxError(cause) };
  } finally {
    await open?.end().catch(() => undefined);
  }
}
