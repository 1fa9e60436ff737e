import { deriveKey, openBox, sealBox } from '../crypto/aead.ts';
import { hmacSha256 } from '../crypto/mac.ts';
import type { KeyPurpose } from '../db/data-keys.ts';
import { FluxError } from '../errors.ts';

/** Whose key it is, and which. Authenticated with the wrapped key, so that one agency's cannot be put in another's row. */
export interface KeyContext {
  agency: string;
  purpose: KeyPurpose;
  version: number;
}

/**
 * Wraps data keys under a key encryption key: all that Flux asks of a key management service. An implementation may keep its
 * key in this process (`localKeyEncryption`) or elsewhere; no caller ever sees it.
 */
export interface KeyEncryption {
  /** Names the key that `wrap` uses now; kept beside what it wrapped. */
  readonly id: string;
  /** @param dataKey 32 bytes */
  wrap(dataKey: Buffer, context: KeyContext): Promise<Buffer>;
  /** @throws KEY_UNAVAILABLE it does not have that key, or the wrapped key is not that context's */
  unwrap(wrapped: { kekId: string; bytes: Buffer }, context: KeyContext): Promise<Buffer>;
}

/**
 * Key encryption with keys that the configuration gives (FLUX_DATA_KEY, or a file that FLUX_DATA_KEY_FILE names).
 *
 * @param current wraps and unwraps
 * @param previous unwrap only, until `flux keys rewrap` has gone through
 */
export function localKeyEncryption(current: Buffer, previous: readonly Buffer[] = []): KeyEncryption {
  const keys = new Map(
    [...previous, current].map((key) => [idOf(key), deriveKey(key, Buffer.alloc(0), 'flux data key wrapping')]),
  );
  const id = idOf(current);
  return {
    id,
    wrap: async (dataKey, context) => sealBox(required(keys.get(id)), dataKey, contextOf(context)),
    async unwrap({ kekId, bytes }, context) {
      const key = keys.get(kekId);
      const dataKey = key && openBox(key, bytes, contextOf(context));
      if (dataKey) return dataKey;
      throw new FluxError(
        'KEY_UNAVAILABLE',
        key
          ? `The ${nameOf(context)} does not unwrap: it was changed, or is not that agency's.`
          : `The ${nameOf(context)} is wrapped by key ${kekId}, and FLUX_DATA_KEY is ${id}. Give the old key as FLUX_DATA_KEY_PREVIOUS.`,
      );
    },
  };
}

export function nameOf({ agency, purpose, version }: KeyContext): string {
  return `data key ${String(version)} for ${purpose} of ${agency}`;
}

/** Public: says which key wrapped something, and nothing about it. */
function idOf(key: Buffer): string {
  return hmacSha256(key, 'flux key encryption key id').toString('hex').slice(0, 16);
}

function contextOf({ agency, purpose, version }: KeyContext): Buffer {
  return Buffer.from(JSON.stringify(['flux data key', agency, purpose, version]));
}

function required(key: Buffer | undefined): Buffer {
  if (!key) throw new Error('the current key encryption key is always there');
  return key;
}
