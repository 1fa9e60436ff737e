import { hmacSha256Kept } from '../crypto/mac.ts';

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
  return `${text}|${hmacSha256Kept(seal.key, text).toString('hex')}`;
}

/** How long a seal for the writing of audit entries holds, seconds: as long as a transaction may take. */
const auditSealSeconds = 60;

/** Seals for the process itself, to write what must be recorded also when the caller's token has ended. */
export function sealForAudit(seal: { keyId: string; key: Buffer }): (agency: string) => string {
  return (agency) =>
    sealContext(seal, {
      agency,
      role: 'audit',
      clearance: 0,
      expiresAt: Math.floor(Date.now() / 1000) + auditSealSeconds,
    });
}
