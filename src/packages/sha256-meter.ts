import { Transform } from 'node:stream';

import { runningSha256 } from '../crypto/hash.ts';

/** What has passed through a stream. */
export interface Measured {
  bytes: number;
  /** Lower-case hex. */
  sha256: string;
}

/** Passes bytes on unchanged, and knows when they have ended how many they were and what they hash to. */
export class Sha256Meter extends Transform {
  readonly #hash = runningSha256();
  #bytes = 0;
  #sha256: string | null = null;

  /** Bytes so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Null before all has passed. */
  get measured(): Measured | null {
    return this.#sha256 === null ? null : { bytes: this.#bytes, sha256: this.#sha256 };
  }

  override _transform(piece: Buffer, _encoding: BufferEncoding, done: (error: null, piece: Buffer) => void): void {
    this.#hash.update(piece);
    this.#bytes += piece.length;
    done(null, piece);
  }

  override _flush(done: () => void): void {
    this.#sha256 = this.#hash.digest().toString('hex');
    done();
  }
}
