import { removeFiles } from './good-file.ts';
import type { PreparedBatch } from './protocol.ts';

/**
 * Prepares the batch behind the one that was asked for, while that one is committed. One batch is ready with its reader and one here, so
 * that neither a slow batch nor a slow commit makes the other side wait.
 */
export class ReadAhead {
  readonly #prepare: () => Promise<PreparedBatch>;
  #ready: Promise<PreparedBatch> | null = null;
  #over = false;

  /** @param prepare makes the next batch; is not called again before it has, nor after the last one or a failure */
  constructor(prepare: () => Promise<PreparedBatch>) {
    this.#prepare = prepare;
  }

  take(): Promise<PreparedBatch> {
    const batch = this.#ready ?? this.#next();
    this.#ready = null;
    return batch;
  }

  /** Begins the batch that will be asked for, once the one before it has been given. */
  begin(): void {
    if (this.#over || this.#ready !== null) return;
    this.#ready = this.#next();
    // Told to whoever asks for it.
    this.#ready.catch(() => undefined);
  }

  /** Nobody will ask. Resolves when nothing is under way. */
  async drop(): Promise<void> {
    const ready = this.#ready;
    this.#ready = null;
    this.#over = true;
    const batch = await ready?.catch(() => null);
    if (batch) await removeFiles(batch);
  }

  async #next(): Promise<PreparedBatch> {
    try {
      const batch = await this.#prepare();
      this.#over = batch.last;
      return batch;
    } catch (cause) {
      this.#over = true;
      throw cause;
    }
  }
}
