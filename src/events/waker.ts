import type { Hints } from './listen.ts';
import { firstOf } from './pause.ts';

/** A reader's registration for hints about one run. A hint that comes while the reader is busy is kept for its next wait. */
export interface Waker {
  /**
   * Forgets hints heard so far. Call it before a read, never after: what comes during the read must still wake.
   *
   * @returns whether there were any
   */
  arm(): boolean;
  /** Waits for a hint, the poll, or the end of the signal. @returns whether a hint ended it */
  wait(pollMs: number, signal: AbortSignal): Promise<boolean>;
  release(): void;
}

export function createWaker(hints: Hints, runId: string): Waker {
  let heard = new AbortController();
  const release = hints.on(runId, () => heard.abort());
  return {
    arm() {
      if (!heard.signal.aborted) return false;
      heard = new AbortController();
      return true;
    },
    async wait(pollMs, signal) {
      await firstOf([heard.signal, signal], pollMs);
      return heard.signal.aborted;
    },
    release,
  };
}
