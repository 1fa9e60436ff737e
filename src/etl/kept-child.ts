import { rm } from 'node:fs/promises';
import type { EtlChild } from './child-process.ts';

/** A child with its session open, and the folder that it works in. */
export interface OpenedChild {
  child: EtlChild;
  folder: string;
  /** Of the content it reads. */
  contentBytes: number;
  /** The range that it has begun before anybody asked for it; null: none. */
  guess: GuessedRange | null;
  /** A guess was wrong: other workers read the run as well, and what is made for a range that they take is lost. */
  guessedWrong: boolean;
}

export interface GuessedRange {
  record: number;
  records: number;
  /** Whether it could be begun. */
  begun: Promise<boolean>;
}

/** A run's next partition is claimed within milliseconds when there is one. */
const keptMs = 2_000;

/**
 * A child that has finished its range waits here for the next one of the same source, contract and transforms: to start one, to load
 * DuckDB and to compile all that again costs as much as three batches. At most one waits, for a moment; whatever differs in the least
 * gets a child of its own, so that nothing of one run is ever near another's.
 */
export class KeptChild {
  #kept: { key: string; opened: OpenedChild; timer: NodeJS.Timeout } | null = null;

  get waits(): boolean {
    return this.#kept !== null;
  }

  /** @returns the one that waits for exactly this; any other ends */
  take(key: string, signal: AbortSignal): OpenedChild | null {
    const kept = this.#kept;
    if (kept === null) return null;
    this.#kept = null;
    clearTimeout(kept.timer);
    if (kept.key === key && kept.opened.child.attach(signal)) return kept.opened;
    void endChild(kept.opened);
    return null;
  }

  /** Ends the one that waits. Resolves when it is gone. */
  async end(): Promise<void> {
    const kept = this.#kept;
    this.#kept = null;
    if (kept === null) return;
    clearTimeout(kept.timer);
    await endChild(kept.opened);
  }

  /** @param opened is asked nothing any more */
  keep(key: string, opened: OpenedChild): void {
    const before = this.#kept;
    if (before !== null) {
      clearTimeout(before.timer);
      void endChild(before.opened);
    }
    opened.child.detach();
    const timer = setTimeout(() => {
      this.#kept = null;
      void endChild(opened);
    }, keptMs);
    timer.unref();
    this.#kept = { key, opened, timer };
  }
}

export async function endChild({ child, folder }: OpenedChild): Promise<void> {
  await child.stop();
  await rm(folder, { recursive: true, force: true });
}
