import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** A file of which any range can be read, wherever its bytes come from. Synchronous: its readers work in a child process. */
export interface ByteFile {
  /** Bytes of the content. */
  readonly size: number;
  /**
   * Reads up to `length` bytes of the content from `position` into `buffer` at `offset`.
   *
   * @returns how many; 0 only at the end
   */
  readSync(buffer: Buffer, offset: number, length: number, position: number): number;
  close(): void;
}

/** A file whose content is its bytes. */
export function openPlainFile(path: string): ByteFile {
  const fd = openSync(path, 'r');
  return {
    size: fstatSync(fd).size,
    readSync: (buffer, offset, length, position) => readSync(fd, buffer, offset, length, position),
    close: () => closeSync(fd),
  };
}
