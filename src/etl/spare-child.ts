import { EtlChild } from './child-process.ts';

/** As long as a source may take to be pinned before its child is wanted, and several of a worker's looks for work. */
const spareMs = 30_000;

/**
 * A child that has loaded what it needs, and knows nothing yet. It is begun when a partition is claimed, so that it starts while the
 * worker reads what the partition is about and copies its source, or before, where a worker expects more runs. It goes when nobody has asked for
 * one for half a minute.
 */
export class SpareChild {
  readonly #codeFolder: string | undefined;
  #spare: { child: EtlChild; timer: NodeJS.Timeout } | null = null;

  constructor(codeFolder: string | undefined) {
    this.#codeFolder = codeFolder;
  }

  begin(): void {
    if (this.#spare?.child.hasEnded === false) {
      this.#spare.timer.refresh();
      return;
    }
    if (this.#spare !== null) clearTimeout(this.#spare.timer);
    const child = new EtlChild(new AbortController().signal, this.#codeFolder);
    child.detach();
    const timer = setTimeout(() => {
      this.#spare = null;
      void child.stop();
    }, spareMs);
    timer.unref();
    this.#spare = { child, timer };
  }

  /** Ends the one that waits. Resolves when it is gone, and writes nothing any more. */
  async end(): Promise<void> {
    const spare = this.#spare;
    this.#spare = null;
    if (spare === null) return;
    clearTimeout(spare.timer);
    await spare.child.stop();
  }

  /** @returns a child that works under the signal: the one that has been begun, or a new one */
  take(signal: AbortSignal): EtlChild {
    const spare = this.#spare;
    this.#spare = null;
    if (spare !== null) {
      clearTimeout(spare.timer);
      if (spare.child.attach(signal)) return spare.child;
      void spare.child.stop();
    }
    return new EtlChild(signal, this.#codeFolder);
  }
}
