import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

import { waiterForParent } from './growing.ts';

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

/** A file whose bytes the parent of this process is still writing, `size` in the end: a read waits until all that it asks for is there. */
export function openGrowingFile(path: string, size: number): ByteFile {
  const fd = openSync(path, 'r');
  const wait = waiterForParent();
  return {
    size,
    readSync(buffer, offset, length, position) {
      const wanted = Math.max(0, Math.min(length, size - position));
      for (let read = 0; read < wanted;) {
        const count = readSync(fd, buffer, offset + read, wanted - read, position + read);
        if (count === 0) wait();
        read += count;
      }
      return wanted;
    },
    close: () => closeSync(fd),
  };
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
