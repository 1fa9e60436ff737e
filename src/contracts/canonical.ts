import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { FluxError } from '../errors.ts';

/**
 * The document's canonical text (RFC 8785): equal documents have equal bytes, whatever their key order or spacing.
 *
 * @throws INVALID_INPUT the value has no JSON form (undefined, NaN, a lone surrogate)
 */
export function canonicalText(document: unknown): string {
  let text: string | undefined;
  try {
    text = canonicalize(document);
  } catch (cause) {
    throw new FluxError('INVALID_INPUT', `The document has no canonical JSON form (${(cause as Error).message}).`, {
      cause,
    });
  }
  if (text === undefined || !text.isWellFormed()) {
    throw new FluxError(
      'INVALID_INPUT',
      'The document has no canonical JSON form (not a JSON value, or broken Unicode).',
    );
  }
  return text;
}

/** SHA-256 over the canonical bytes, 32 bytes; what flux.contracts and flux.pipelines keep as `sha256`. */
export function contractSha256(document: unknown): Buffer {
  return createHash('sha256').update(canonicalText(document), 'utf8').digest();
}
