import { type FileHandle, open } from 'node:fs/promises';

/** Bytes between two requests to the disk. Each costs it a commit of its journal; what was written since the last is what the end waits for. */
const writebackBytes = 16 * 2 ** 20;

/** A file while it is written for the first time. */
export interface NewFile {
  /**
   * Writes all of the bytes at a position of the file; they may be changed once it resolves.
   *
   * @throws what the system says of them, or the disk of earlier ones
   */
  write(bytes: Uint8Array, position: number): Promise<void>;
}

/** A new file that only this user may read, on disk when this returns. */
export async function withNewFile<T>(path: string, write: (file: NewFile) => Promise<T>): Promise<T> {
  const handle = await open(path, 'wx', 0o600);
  const writeback = new Writeback(handle);
  try {
    const result = await write({
      async write(bytes, position) {
        for (let written = 0; written < bytes.length;) {
          const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
          written += bytesWritten;
        }
        writeback.wrote(bytes.length);
      },
    });
    await writeback.end();
    return result;
  } finally {
    await writeback.settled();
    await handle.close();
  }
}

/** Has the disk take bytes while more of them come: what waits until the end is written while nobody does anything else. */
class Writeback {
  readonly #file: FileHandle;
  #waiting = 0;
  #running: Promise<void> | null = null;
  #failure: Error | null = null;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** @throws what the disk said; the system tells it once, so that the sync at the end would not know */
  wrote(byteCount: number): void {
    if (this.#failure !== null) throw this.#failure;
    this.#waiting += byteCount;
    if (this.#waiting < writebackBytes || this.#running !== null) return;
    this.#waiting = 0;
    this.#running = this.#file
      .datasync()
      .catch((cause: unknown) => {
        this.#failure = cause as Error;
      })
      .finally(() => {
        this.#running = null;
      });
  }

  /** Nothing uses the file any more. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** All of it is on disk. @throws what the disk said, whenever it did */
  async end(): Promise<void> {
    await this.settled();
    if (this.#failure !== null) throw this.#failure;
    await this.#file.sync();
  }
}
