import { channels, type SendHints } from '../db/notify.ts';

/** Sends hints after commits, each run once per flush however often it was named. Lost hints cost only time. */
export interface Announcer {
  /** The run has new events. */
  run(runId: string): void;
  /** There may be work. */
  work(): void;
  /** Sends what is due; afterwards nothing is sent any more. */
  stop(): Promise<void>;
}

/** One hint for what happens within this time: NOTIFY takes a lock of the whole database at commit. */
const debounceMs = 30;

export function createAnnouncer(send: SendHints, onError: (error: unknown) => void): Announcer {
  const runs = new Set<string>();
  let work = false;
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<void> = Promise.resolve();
  let stopped = false;

  const flush = (): void => {
    timer = undefined;
    const hints = [
      ...[...runs].map((runId) => ({ channel: channels.runEvents, payload: runId })),
      ...(work ? [{ channel: channels.work, payload: '' }] : []),
    ];
    runs.clear();
    work = false;
    if (hints.length === 0) return;
    sending = Promise.all([sending, send(hints)]).then(() => undefined, onError);
  };
  const soon = (): void => {
    if (!stopped) timer ??= setTimeout(flush, debounceMs);
  };
  return {
    run(runId) {
      runs.add(runId);
      soon();
    },
    work() {
      work = true;
      soon();
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      flush();
      await sending;
    },
  };
}
