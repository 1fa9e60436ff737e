import { sha256Hex } from '../crypto/hash.ts';
import { FluxError } from '../errors.ts';
import { findInDocument, findPersonalData } from '../personal-data/mask.ts';

/**
 * Refuses what must be kept to the letter, so that it cannot be masked, and holds personal data.
 *
 * @param what begins the message: "The contract"
 * @throws INVALID_INPUT naming each place and kind, never the value
 */
export function requireNoPersonalData(what: string, value: unknown): void {
  const found = findInDocument(value);
  if (found.length === 0) return;
  const shown = found.slice(0, 5).map(({ path, kind }) => `${path === '' ? 'its text' : path} (${kind})`);
  throw new FluxError(
    'INVALID_INPUT',
    `${what} is kept to the letter and may hold no personal data, but some stands at ${shown.join(', ')}. Take it out.`,
    {
      details: {
        issues: found.slice(0, 50).map(({ path, kind }) => ({
          path,
          rule: 'personalData',
          message: `reads as personal data (${kind})`,
        })),
      },
    },
  );
}

/** An idempotency key as it is stored: its digest where it reads as personal data, which nobody has to read again. */
export function storableKey(key: string): string {
  return findPersonalData(key) === null ? key : `sha256:${sha256Hex(key)}`;
}
