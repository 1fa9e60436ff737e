import { equalSecrets, hmacSha256, hmacSha256Kept } from '../crypto/mac.ts';
import { FluxError } from '../errors.ts';

/**
 * Cursors are opaque, and signed so that a client cannot build one: a position that was never given out would look like a gap.
 * A cursor is `<base64url of the parts as JSON>.<base64url of 16 bytes of HMAC-SHA-256>`. Its kind and the agency are
 * signed with it but not written into it, so that a cursor of another list, run or agency does not fit.
 */
const macByteCount = 16; // 128 bits: nobody guesses it, and the cursor stays short

export interface CursorScope {
  /** What is being paged through, such as `events:<run id>` or `runs`. */
  kind: string;
  agency: string;
}

/** The key that signs cursors, derived from FLUX_CONTEXT_KEY. */
export function cursorKeyOf(contextKey: Buffer): Buffer {
  return hmacSha256(contextKey, 'flux cursor');
}

export function encodeCursor(key: Buffer, scope: CursorScope, parts: readonly string[]): string {
  const text = JSON.stringify(parts);
  return `${Buffer.from(text).toString('base64url')}.${sign(key, scope, text).toString('base64url')}`;
}

/** @throws INVALID_INPUT the text is no cursor of this list, run and agency */
export function decodeCursor(key: Buffer, scope: CursorScope, cursor: string): string[] {
  const [body = '', mac = '', ...rest] = cursor.split('.');
  const text = Buffer.from(body, 'base64url').toString('utf8');
  const told = Buffer.from(mac, 'base64url');
  if (rest.length > 0 || told.length !== macByteCount || !equalSecrets(told, sign(key, scope, text))) {
    throw new FluxError(
      'INVALID_INPUT',
      'The cursor was not given out for this list. Pass `endCursor` or an item’s `cursor` of the same list unchanged, or none to begin at the start.',
      { details: { issues: [{ path: '/after', rule: 'cursor', message: 'expected a cursor of this list' }] } },
    );
  }
  return JSON.parse(text) as string[];
}

/** The position after an event: the same text for `runEventLog`, `runEvents` and every later transport. */
export function encodeEventCursor(key: Buffer, at: { agency: string; runId: string; seq: bigint }): string {
  return encodeCursor(key, { kind: `events:${at.runId}`, agency: at.agency }, [String(at.seq)]);
}

/** @throws INVALID_INPUT */
export function decodeEventCursor(key: Buffer, of: { agency: string; runId: string }, cursor: string): bigint {
  const [seq = '0'] = decodeCursor(key, { kind: `events:${of.runId}`, agency: of.agency }, cursor);
  return BigInt(seq);
}

function sign(key: Buffer, { kind, agency }: CursorScope, text: string): Buffer {
  return hmacSha256Kept(key, [kind, agency, text].join('\0')).subarray(0, macByteCount);
}
