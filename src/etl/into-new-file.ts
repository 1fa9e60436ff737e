import { createWriteStream, type WriteStream } from 'node:fs';

/**
 * Writes a new file that only this user may read, and answers when it is closed, whether or not it was written to its end.
 *
 * A pipeline that fails answers at once, and its file may not even have been opened then: it would come to be in a folder that is being
 * removed for the failure, which makes of the failure's own words a folder that is not empty.
 *
 * @param path at which nothing stands
 * @param write ends or destroys the stream, as a pipeline into it does
 * @throws what `write` throws
 */
export async function intoNewFile<T>(path: string, write: (file: WriteStream) => Promise<T>): Promise<T> {
  const file = createWriteStream(path, { flags: 'wx', mode: 0o600 });
  const closed = new Promise<void>((resolve) => file.once('close', resolve));
  try {
    return await write(file);
  } finally {
    file.destroy();
    await closed;
  }
}
