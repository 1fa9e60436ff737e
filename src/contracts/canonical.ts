import { canonicalBytes } from '../canonical-json.ts';
import { sha256 } from '../crypto/hash.ts';
import { FluxError } from '../errors.ts';

/**
 * The document's canonical text (RFC 8785): equal documents have equal bytes, whatever their key order or spacing.
 *
 * @throws INVALID_INPUT the value has no JSON form (undefined, NaN, a lone surrogate)
 */
export function canonicalText(document: unknown): string {
  try {
    return canonicalBytes(document).toString('utf8');
  } catch (cause) {
    throw new FluxError(
      'INVALID_INPUT',
      'The document has no canonical JSON form: it is no JSON value, or holds broken Unicode (half of a surrogate pair). Correct it.',
      { cause },
    );
  }
}

/** SHA-256 over the canonical bytes, 32 bytes; what flux.contracts and flux.pipelines keep as `sha256`. */
export function contractSha256(document: unknown): Buffer {
  return sha256(canonicalText(document));
}
