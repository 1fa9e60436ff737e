import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';

/** The bytes are not whole Zstandard data. */
export class ZstdFault extends Error {
  override readonly name = 'ZstdFault';
}

const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;
/** Blocks hold at most 128 KiB; a larger one is not read into memory before the decoder refuses it. */
const pieceBytes = 1 << 16;

/**
 * What Zstandard data hold (RFC 8878): the content of every frame, in their order; skippable frames are passed over. Frames are found by
 * their own headers, because Node's decoder ends after the first one and says nothing of what follows.
 *
 * @throws ZstdFault it ends early, goes on with something else, or needs a dictionary; what the decoder throws (`ZSTD_error_…`)
 */
export async function* zstdContent(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const input = new ByteQueue(source);
  for (let frames = 0; ;) {
    const magic = await input.takeOrEnd(4);
    if (magic === null) {
      if (frames === 0) throw new ZstdFault('it holds no frame');
      return;
    }
    const number = magic.readUInt32LE();
    if ((number & 0xfffffff0) >>> 0 === skippableMagic) {
      for await (const _piece of input.pass((await input.take(4)).readUInt32LE())) continue;
    } else if (number === frameMagic) {
      frames += 1;
      yield* decoded(frameBytes(magic, input));
    } else {
      throw new ZstdFault(frames === 0 ? 'it does not begin with a frame' : 'something else follows its last frame');
    }
  }
}

async function* decoded(frame: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const decoder = createZstdDecompress();
  const fed = pipeline(Readable.from(frame, { objectMode: true }), decoder);
  // Awaited below; a failure reaches the reader of the decoder first.
  fed.catch(() => undefined);
  try {
    yield* decoder as AsyncIterable<Uint8Array>;
    await fed;
  } finally {
    decoder.destroy();
  }
}

/** One frame with its exact bytes, from its magic number to its last block or checksum (RFC 8878, 3.1.1). */
async function* frameBytes(magic: Buffer, input: ByteQueue): AsyncGenerator<Uint8Array, void, undefined> {
  yield magic;
  const descriptor = await input.take(1);
  const flags = descriptor[0] ?? 0;
  const single = (flags & 0x20) !== 0;
  if ((flags & 0x08) !== 0) throw new ZstdFault('it uses what this version of the format reserves');
  const dictionary = [0, 1, 2, 4][flags & 3] ?? 0;
  const size = [single ? 1 : 0, 2, 4, 8][flags >> 6] ?? 0;
  const rest = await input.take((single ? 0 : 1) + dictionary + size);
  if (rest.subarray(single ? 0 : 1, (single ? 0 : 1) + dictionary).some((byte) => byte !== 0)) {
    throw new ZstdFault('it needs a dictionary');
  }
  yield descriptor;
  yield rest;
  for (let last = false; !last;) {
    const header = await input.take(3);
    const block = header.readUIntLE(0, 3);
    last = (block & 1) === 1;
    const type = (block >> 1) & 3;
    if (type === 3) throw new ZstdFault('it holds a block of a reserved kind');
    yield header;
    yield* input.pass(type === 1 ? 1 : block >> 3);
  }
  if ((flags & 0x04) !== 0) yield await input.take(4);
}

/** Bytes that come in pieces, taken in lengths of our own. */
class ByteQueue {
  readonly #source: AsyncIterator<Uint8Array>;
  #piece: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async #fill(): Promise<boolean> {
    while (this.#piece.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return false;
      this.#piece = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    }
    return true;
  }

  /** The next bytes, few enough to hold; null where nothing follows. @throws ZstdFault less follows */
  async takeOrEnd(length: number): Promise<Buffer | null> {
    if (!(await this.#fill())) return null;
    return this.take(length);
  }

  async take(length: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this.pass(length)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  /** The next bytes, however many, as they come. @throws ZstdFault less follows */
  async *pass(length: number): AsyncGenerator<Buffer, void, undefined> {
    for (let left = length; left > 0;) {
      if (!(await this.#fill())) throw new ZstdFault('it ends in the middle of a frame');
      const piece = this.#piece.subarray(0, Math.min(left, pieceBytes));
      this.#piece = this.#piece.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }
}
