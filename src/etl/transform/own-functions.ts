import { hmacSha256Kept } from '../../crypto/mac.ts';
import { FluxError } from '../../errors.ts';
import { maskText } from '../../personal-data/mask.ts';
import type { ScalarFunction } from '../duckdb/session.ts';
import type { ChildJob } from '../protocol.ts';
import { hashFunction, redactFunction } from './sterilise.ts';

/** Bytes of a hashed identifier: 128 bits, so that none of a nation's two collide, in half of SHA-256's text. */
const hashByteCount = 16;

/** What sterilisation adds to DuckDB: a keyed hash, whose keys never stand in SQL, and the mask of texts. */
export function functionsOf({ salts = {} }: Pick<ChildJob, 'salts'>): ScalarFunction[] {
  const keys = new Map(Object.entries(salts).map(([name, hex]) => [name, Buffer.from(hex, 'hex')]));
  return [
    {
      name: hashFunction,
      parameters: 2,
      call: ([salt, value]) => {
        const key = keys.get(salt ?? '');
        if (key === undefined)
          throw new FluxError('KEY_UNAVAILABLE', `There is no salt "${String(salt)}" for this agency.`);
        return hmacSha256Kept(key, value ?? '')
          .subarray(0, hashByteCount)
          .toString('hex');
      },
    },
    { name: redactFunction, parameters: 1, call: ([text]) => maskText(text ?? '') },
  ];
}
