import { type PassThrough, pipeline, type Readable } from 'node:stream';
import { finished } from 'node:stream/promises';

import yazl from 'yazl';

import { type Measured, Sha256Meter } from './sha256-meter.ts';

/** A file that stands in the archive. */
export interface ZippedFile extends Measured {
  path: string;
}

export interface ZipWriter {
  /** Resolves when all of the file has passed. @throws what its content fails with */
  add(path: string, content: Readable | string): Promise<ZippedFile>;
}

/**
 * A ZIP archive as it is made. Nothing of it is kept: sizes and checks of streamed files stand behind them, as data descriptors, and in the
 * directory at the end; both are ZIP64 where 4 GiB are passed. Equal files in equal order are equal bytes, whenever and wherever they are packed:
 * every entry has the earliest time that the format can say.
 *
 * When `produce` fails, the stream fails with that. When the stream is destroyed, so is the content that is being read.
 */
export function zipStream(produce: (zip: ZipWriter) => Promise<void>): Readable {
  const zip = new yazl.ZipFile();
  const output = zip.outputStream as PassThrough;
  zip.on('error', (error) => output.destroy(error as Error));
  const add = async (path: string, content: Readable | string): Promise<ZippedFile> => {
    // Local time of the library's own: DOS times have no zone, so these are the same bytes in any.
    const options = { mtime: new Date(1980, 0, 1), mode: 0o100644, forceDosTimestamp: true };
    const meter = new Sha256Meter();
    if (typeof content === 'string') {
      const bytes = Buffer.from(content);
      meter.end(bytes);
      zip.addBuffer(bytes, path, options);
      await finished(meter.resume());
    } else {
      const leave = (): void => void meter.destroy();
      output.once('close', leave);
      zip.addReadStream(
        pipeline(content, meter, () => undefined),
        path,
        options,
      );
      await finished(meter);
      output.off('close', leave);
    }
    return { path, ...(meter.measured as Measured) };
  };
  produce({ add }).then(
    () => zip.end(),
    (cause: unknown) => output.destroy(cause instanceof Error ? cause : new Error(String(cause))),
  );
  return output;
}
