import { open } from 'node:fs/promises';

import { FluxError } from '../errors.ts';
import type { ByteFile } from '../objects/byte-file.ts';
import { JsonSplitter, JsonStructureError } from './ingest/json-splitter.ts';

const bufferBytes = 1 << 20;
/** As large as a connector lets a page be. */
const pageBytesMax = 65 * 2 ** 20;

/**
 * Writes the records of a list that came in pages as one array: of each page of the document, the elements at `recordPath`, with
 * their exact bytes and in their order. A page may hold none.
 *
 * @param copy a path at which nothing stands
 * @returns bytes of the content
 * @throws SOURCE_INVALID a page has no array of records there; the signal's reason
 */
export async function writePagedRecords(
  copy: string,
  source: { file: ByteFile; origin: string },
  { recordPath, signal }: { recordPath: string; signal: AbortSignal },
): Promise<number> {
  const file = await open(copy, 'wx', 0o600);
  const pending: Buffer[] = [];
  let pendingBytes = 0;
  let byteCount = 0;
  const flush = async (): Promise<void> => {
    signal.throwIfAborted();
    await file.writeFile(Buffer.concat(pending.splice(0)));
    pendingBytes = 0;
  };
  try {
    for (const piece of pieces(source, recordPath)) {
      pending.push(piece);
      pendingBytes += piece.length;
      byteCount += piece.length;
      if (pendingBytes >= bufferBytes) await flush();
    }
    await flush();
  } finally {
    await file.close();
  }
  return byteCount;
}

function* pieces({ file, origin }: { file: ByteFile; origin: string }, recordPath: string): Generator<Buffer> {
  let page = 0;
  try {
    yield Buffer.from('[');
    let between = '\n';
    for (const range of elements(
      new JsonSplitter(file, { start: 0, end: file.size }, { maxBytes: pageBytesMax }),
      '',
    )) {
      page += 1;
      for (const { bytes } of elements(new JsonSplitter(file, range), recordPath)) {
        yield Buffer.from(between);
        yield bytes;
        between = ',\n';
      }
    }
    yield Buffer.from('\n]');
  } catch (cause) {
    if (!(cause instanceof JsonStructureError)) throw cause;
    throw new FluxError('SOURCE_INVALID', `Page ${String(page)} of ${origin}: ${cause.message}.`, { cause });
  }
}

function* elements(splitter: JsonSplitter, pointer: string): Generator<{ start: number; end: number; bytes: Buffer }> {
  splitter.enter(pointer);
  for (let first = true; splitter.next(first); first = false) {
    const { start, end, offset } = splitter;
    // A copy: the window moves on.
    yield { start: offset, end: offset + end - start, bytes: Buffer.from(splitter.buffer.subarray(start, end)) };
  }
}
