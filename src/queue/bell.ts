import { channels, listen } from '../db/notify.ts';
import { connect, type Connection } from '../db/pool.ts';

/** Wakes a worker that waits for work. A hint only: whoever waits also polls. */
export interface Bell {
  /** Resolves on a hint, after `ms`, or on the abort. A hint that came since the last wait counts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

/** A lost connection is made anew, at most this often. */
const reconnectMs = 1_000;

/** Listens on the channel of work, reconnecting as long as it is not stopped. Never throws: without a connection, polls do. */
export function startBell(options: { url: string; onError: (error: unknown) => void }): Bell {
  const stopping = new AbortController();
  let rung = false;
  let wake: (() => void) | undefined;
  let connection: (Connection & { end(): Promise<void> }) | undefined;
  let timer: NodeJS.Timeout | undefined;

  const ring = (): void => {
    rung = true;
    wake?.();
  };
  const open = async (): Promise<void> => {
    try {
      const opened = await connect({ url: options.url, applicationName: 'flux worker bell', onError: options.onError });
      connection = opened;
      opened.client.on('end', later);
      await listen(opened, channels.work, ring);
      if (stopping.signal.aborted) await opened.end();
    } catch (error) {
      options.onError(error);
      await connection?.end().catch(() => undefined);
      later();
    }
  };
  const later = (): void => {
    connection = undefined;
    if (stopping.signal.aborted) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      opening = open();
    }, reconnectMs);
  };
  let opening = open();

  return {
    wait(ms, signal) {
      return new Promise((resolve) => {
        const finish = (): void => {
          clearTimeout(timeout);
          signal.removeEventListener('abort', finish);
          wake = undefined;
          rung = false;
          resolve();
        };
        const timeout = setTimeout(finish, ms);
        wake = finish;
        signal.addEventListener('abort', finish, { once: true });
        if (rung || signal.aborted) finish();
      });
    },
    async stop() {
      stopping.abort();
      clearTimeout(timer);
      await opening;
      await connection?.end().catch(() => undefined);
    },
  };
}
