import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

import { FluxError } from '../errors.ts';
import { intoNewFile } from './into-new-file.ts';
import { type Encoding, EncodingFault, utf8Content } from './utf8-content.ts';
import { zstdContent, ZstdFault } from './zstd-frames.ts';

export type Compression = 'gzip' | 'zstd';

/** How far a compressed source may grow. */
export interface GrowthLimits {
  /** Bytes of the content. */
  byteCountMax: number;
  /** Bytes of the content for each byte of the source. Text with much repetition stays below 200, a bomb comes near 1,000. */
  ratioMax: number;
}

export const growthLimitsDefault: GrowthLimits = { byteCountMax: 64 * 2 ** 30, ratioMax: 250 };

/** Up to here the ratio says nothing: a short file of one value shrinks as far as a bomb does. */
const ratioFreeBytes = 16 * 2 ** 20;

/**
 * Writes what a gzip source (RFC 1952) or a zstd source (RFC 8878) holds to a new file that only this user may read. A source of several
 * members, or frames, is one content, in their order; text in another encoding becomes UTF-8. Nothing is guessed: a source that ends early, fails its checksum, or goes on behind its last member
 * is refused, and so is one that grows beyond the limits, as soon as it does. The part that was written goes with the folder.
 *
 * @param source its bytes and how many there are
 * @param copy a path at which nothing stands
 * @param compression null: the bytes are the content
 * @param encoding null: UTF-8 already, or no text
 * @returns bytes of the content as it was written
 * @throws SOURCE_INVALID as above, or it holds nothing; whatever the source's bytes throw; the signal's reason
 */
export async function decompressTo(
  copy: string,
  source: { bytes: AsyncIterable<Uint8Array>; byteCount: number; origin: string },
  {
    compression,
    encoding = null,
    limits,
    signal,
  }: { compression: Compression | null; encoding?: Encoding | null; limits: GrowthLimits; signal: AbortSignal },
): Promise<number> {
  const gunzip = createGunzip();
  let byteCount = 0;
  const measured = async function* (pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      byteCount += piece.byteLength;
      if (compression !== null) checkGrowth(source, byteCount, limits);
      yield piece;
    }
  };
  let contentBytes = 0;
  const inUtf8 = async function* (pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of encoding === null ? pieces : utf8Content(pieces, encoding)) {
      contentBytes += piece.byteLength;
      yield piece;
    }
  };
  try {
    await intoNewFile(copy, (content) => {
      if (compression === 'gzip') return pipeline(source.bytes, gunzip, measured, inUtf8, content, { signal });
      const bytes = compression === 'zstd' ? zstdContent(source.bytes) : source.bytes;
      return pipeline(bytes, measured, inUtf8, content, { signal });
    });
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof EncodingFault) {
      const where = compression === null ? '' : ' of its decompressed content';
      throw invalid(
        source.origin,
        `is not in its encoding: ${cause.message}${where}. Correct source.format.encoding or the source.`,
        cause,
      );
    }
    const { code } = cause as { code?: unknown };
    const damaged = cause instanceof ZstdFault || (typeof code === 'string' && /^(Z_|ZSTD_)/.test(code));
    if (!damaged) throw cause;
    throw invalid(
      source.origin,
      `is not whole ${String(compression)} data (${(cause as Error).message}). Send it again.`,
      cause,
    );
  }
  // zlib passes over padding behind the last member, and with it over anything that a zero byte begins.
  if (compression === 'gzip' && gunzip.bytesWritten !== source.byteCount) {
    const surplus = source.byteCount - gunzip.bytesWritten;
    throw invalid(source.origin, `goes on for ${surplus} bytes behind its last gzip member. Cut them off.`);
  }
  if (byteCount === 0)
    throw invalid(source.origin, 'holds nothing (0 bytes decompressed). Expected at least one record.');
  return contentBytes;
}

function checkGrowth(source: { byteCount: number; origin: string }, byteCount: number, limits: GrowthLimits): void {
  const { byteCountMax, ratioMax } = limits;
  if (byteCount > byteCountMax) {
    throw invalid(source.origin, `decompresses to more than ${byteCountMax} bytes. Split it into smaller files.`);
  }
  if (byteCount > ratioFreeBytes && byteCount > source.byteCount * ratioMax) {
    throw invalid(
      source.origin,
      `decompresses to more than ${ratioMax} times its ${source.byteCount} bytes, which only a decompression bomb does. Send it uncompressed if it is none.`,
    );
  }
}

function invalid(origin: string, what: string, cause?: unknown): FluxError {
  return new FluxError('SOURCE_INVALID', `${origin} ${what}`, cause === undefined ? {} : { cause });
}
