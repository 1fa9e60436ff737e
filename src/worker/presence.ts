import type { Queryable } from '../db/pool.ts';
import { reportWorker } from '../db/queue.ts';

/** Five may be lost before a worker counts as gone. */
const reportMs = 2_000;

/** Says that a worker is there, so that a run can say whether it waits for one. Decides nothing: leases do. */
export interface Presence {
  /** From now on the worker is stopping. */
  draining(): void;
  /** Says that it has gone. Never throws. */
  stop(): Promise<void>;
}

export function startPresence(db: Queryable, id: string, onError: (error: unknown) => void): Presence {
  let state: 'WORKING' | 'DRAINING' = 'WORKING';
  let last: Promise<void> = Promise.resolve();
  const report = (now: typeof state | null): Promise<void> =>
    (last = last.then(() => reportWorker(db, id, now)).catch(onError));
  const timer = setInterval(() => void report(state), reportMs);
  void report(state);
  return {
    draining() {
      state = 'DRAINING';
      void report(state);
    },
    async stop() {
      clearInterval(timer);
      await report(null);
    },
  };
}
