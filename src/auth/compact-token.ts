import { parseStrictJson } from '../contracts/strict-json.ts';

/** A JWS in compact form, decoded but not verified. */
export interface CompactToken {
  header: Record<string, unknown>;
  claims: Record<string, unknown>;
}

const tokenLengthMax = 8_192; // characters
const canonicalPart = /^[A-Za-z0-9_-]+$/;

/**
 * Reads a token that has exactly one spelling. base64url does not: it takes a space, padding, or a last character with idle
 * bits for the same bytes, and JSON takes a key twice. A token list, rate limit or log that keys on the text would miss the twin.
 * (Wycheproof's JWS vectors 360, 365, 368 and 375 pass the library and stop here.)
 *
 * @returns null when the text is not such a token
 */
export function readCompactToken(text: string): CompactToken | null {
  if (text.length > tokenLengthMax) return null;
  const parts = text.split('.');
  if (parts.length !== 3 || !parts.every(isCanonical)) return null;
  const header = readObject(parts[0] as string);
  const claims = readObject(parts[1] as string);
  return header && claims ? { header, claims } : null;
}

function isCanonical(part: string): boolean {
  return (
    canonicalPart.test(part) && part.length % 4 !== 1 && Buffer.from(part, 'base64url').toString('base64url') === part
  );
}

function readObject(part: string): Record<string, unknown> | null {
  try {
    const value = parseStrictJson(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(part, 'base64url')));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}
