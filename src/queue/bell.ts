import { channels, type HintEar, listenThrough, type OpenEar } from '../db/notify.ts';

/** Wakes a worker that waits for work. A hint only: whoever waits also polls. */
export interface Bell {
  /** Resolves on a hint, after `ms`, or on the abort. A hint that came since the last wait counts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

/** A lost connection is made anew, at most this often. */
const reconnectMs = 1_000;

/** Listens on the channel of work, reconnecting as long as it is not stopped. Never throws: without a connection, polls do. */
export function startBell(options: {
  url: string;
  /** Where hints travel another way than through the database. */
  open?: OpenEar;
  onError: (error: unknown) => void;
}): Bell {
  const openEar = options.open ?? (() => listenThrough({ url: options.url, applicationName: 'flux worker bell' }));
  const stopping = new AbortController();
  let rung = false;
  let wake: (() => void) | undefined;
  let ear: HintEar | undefined;
  let timer: NodeJS.Timeout | undefined;

  const ring = (): void => {
    rung = true;
    wake?.();
  };
  const open = async (): Promise<void> => {
    try {
      const opened = await openEar();
      ear = opened;
      await opened.hear(channels.work, ring);
      if (stopping.signal.aborted) await opened.end();
      else if (opened.lost.aborted) lose(opened);
      else opened.lost.addEventListener('abort', () => lose(opened), { once: true });
    } catch (error) {
      options.onError(error);
      await ear?.end().catch(() => undefined);
      later();
    }
  };
  const lose = (lost: HintEar): void => {
    if (!stopping.signal.aborted) options.onError(lost.lost.reason);
    void lost.end().catch(() => undefined);
    later();
  };
  const later = (): void => {
    ear = undefined;
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
      await ear?.end().catch(() => undefined);
    },
  };
}
