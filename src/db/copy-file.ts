import { closeSync, openSync, readSync } from 'node:fs';
import type { Duplex } from 'node:stream';

import type pg from 'pg';

const chunkBytes = 128 * 1024;
/** Of a message: its kind and the length of what follows. */
const headBytes = 5;
const [copyData, copyDone] = [0x64, 0x63];

/** What is used of pg's connection. */
interface Wire {
  readonly stream: Duplex;
  query(text: string): void;
  sendCopyFail(message: string): void;
}

/**
 * Sends a file as the data of `copy … from stdin`, in two buffers that take turns: the next piece is read while one is on its way.
 * Streams would make new memory of each piece, and the server waits while it is collected. A file that has just been written is in memory, so
 * that a piece is read in less time than it takes to ask another thread for it.
 *
 * An abort sends CopyFail and rejects when the server has answered; the caller rolls back.
 *
 * @returns rows written
 */
export async function copyFile(
  client: pg.ClientBase,
  text: string,
  path: string,
  signal: AbortSignal,
): Promise<number> {
  signal.throwIfAborted();
  const fd = openSync(path, 'r');
  const copy = new CopyFile(text, fd);
  const onAbort = (): void => copy.fail(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    client.query(copy);
    return await copy.done;
  } finally {
    signal.removeEventListener('abort', onAbort);
    await copy.idle;
    closeSync(fd);
  }
}

/** pg calls what begins with `handle`; either an error or `handleReadyForQuery` comes last. */
class CopyFile implements pg.Submittable {
  /** Public, as a query's text is, for whoever watches the driver. */
  readonly text: string;
  readonly #fd: number;
  readonly #buffers = [0, 1].map(() => Buffer.allocUnsafeSlow(headBytes + chunkBytes)) as [Buffer, Buffer];
  readonly #settled = Promise.withResolvers<number>();
  #wire: Wire | null = null;
  #sending: Promise<void> = Promise.resolve();
  #rowCount = 0;
  /** Why no more is sent; the server's answer to CopyFail is less to the point. */
  #failure: Error | null = null;
  #over = false;

  constructor(text: string, fd: number) {
    this.text = text;
    this.#fd = fd;
  }

  get done(): Promise<number> {
    return this.#settled.promise;
  }

  /** Nothing reads the file any more. */
  get idle(): Promise<void> {
    return this.#sending;
  }

  fail(reason: unknown): void {
    if (this.#over || this.#failure !== null) return;
    this.#failure = reason instanceof Error ? reason : new Error('aborted', { cause: reason });
    this.#wire?.sendCopyFail(this.#failure.message);
  }

  submit(connection: unknown): void {
    (connection as Wire).query(this.text);
  }

  handleCopyInResponse(connection: unknown): void {
    const wire = connection as Wire;
    this.#wire = wire;
    if (this.#failure !== null) wire.sendCopyFail(this.#failure.message);
    else this.#sending = this.#send(wire).catch((cause: unknown) => this.fail(cause));
  }

  handleCommandComplete({ text }: { text: string }): void {
    this.#rowCount = Number(/^COPY (\d+)/.exec(text)?.[1] ?? 0);
  }

  handleReadyForQuery(): void {
    this.#over = true;
    if (this.#failure === null) this.#settled.resolve(this.#rowCount);
    else this.#settled.reject(this.#failure);
  }

  handleError(cause: Error): void {
    this.#over = true;
    this.#settled.reject(this.#failure ?? cause);
  }

  async #send({ stream }: Wire): Promise<void> {
    let sent: Promise<void> = Promise.resolve();
    for (let turn = 0; ; turn = 1 - turn) {
      const buffer = this.#buffers[turn] as Buffer;
      const bytesRead = readSync(this.#fd, buffer, headBytes, chunkBytes, null);
      await sent;
      if (this.#over || this.#failure !== null) return;
      if (bytesRead === 0) break;
      buffer[0] = copyData;
      buffer.writeUInt32BE(bytesRead + 4, 1);
      sent = written(stream, buffer.subarray(0, headBytes + bytesRead));
    }
    await written(stream, Buffer.from([copyDone, 0, 0, 0, 4]));
  }
}

/** Resolves when the system has the bytes, so that their memory may be used again. A connection that broke says so elsewhere. */
function written(stream: Duplex, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => stream.write(bytes, () => resolve()));
}
