import { hmacSha256 } from '../crypto/mac.ts';

/** What a sealed context says; migrations/0001 reads it back. */
export interface TenantContext {
  agency: string;
  role: string;
  /** 0 (U) to 5 (SCI). */
  clearance: number;
  /** Seconds since 1970 after which the database refuses it. */
  expiresAt: number;
}

/**
 * Seals a tenant context for `inTenant`. SQL cannot forge it: the key is in this process and, as its HMAC pads, in a table
 * that no application role can read.
 */
export function sealContext(seal: { keyId: string; key: Buffer }, context: TenantContext): string {
  const text = [context.agency, context.role, String(context.clearance), String(context.expiresAt), seal.keyId].join(
    '|',
  );
  return `${text}|${hmacSha256(seal.key, text).toString('hex')}`;
}
