/** Keyed hashes. */
import fc from 'fast-check';
import { expect, it } from 'vitest';

import { hmacSha256, hmacSha256Kept } from '../../../src/crypto/mac.ts';

const bytes = fc.uint8Array({ minLength: 1, maxLength: 100 });

it('gives a text the same HMAC under a key that is kept, however often, as under one that is not', () => {
  fc.assert(
    fc.property(bytes, bytes, fc.string(), (key, other, text) => {
      const expected = hmacSha256(key, text).toString('hex');
      expect(hmacSha256Kept(key, text).toString('hex')).toBe(expected);
      hmacSha256Kept(other, text);
      expect(hmacSha256Kept(key, text).toString('hex')).toBe(expected);
    }),
  );
});
