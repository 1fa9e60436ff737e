import { sealContext } from '../auth/tenant-context.ts';
import { connectAdmin } from '../db/connect-admin.ts';
import { sealKey, underStructureLock } from '../db/migrate.ts';
import type { Connection } from '../db/pool.ts';
import { inTransaction, setTenant } from '../db/transaction.ts';

/** The platform operator, who is no tenant and comes with the admin's URL. */
export interface Operator {
  adminUrl: string;
  /** FLUX_CONTEXT_KEY: the logins' passwords derive from it, and tenant contexts are sealed with it. */
  contextKey: Buffer;
  /** Who asks, for the audit log: `operator:<OS user>`. */
  actor: string;
}

/** Lends a connection as the admin while nobody else changes roles, structure or keys. */
export async function underOperatorLock<T>(
  { adminUrl }: Pick<Operator, 'adminUrl'>,
  name: string,
  work: (admin: Connection) => Promise<T>,
): Promise<T> {
  const admin = await connectAdmin(adminUrl, name);
  try {
    return await underStructureLock(admin, () => work(admin));
  } finally {
    await admin.end();
  }
}

/** One transaction as an agency's tenant, so that row-level security holds for an admin without superuser too. */
export function asAgency<T>(
  admin: Connection,
  contextKey: Buffer,
  agency: string,
  work: (tx: Connection) => Promise<T>,
): Promise<T> {
  return inTransaction(admin, async (tx) => {
    await setTenant(tx, operatorContext(contextKey, agency));
    return work(tx);
  });
}

/** The seal outlives any wait for the structure lock that an operator would sit through. */
function operatorContext(contextKey: Buffer, agency: string): string {
  const expiresAt = Math.floor(Date.now() / 1000) + 600;
  return sealContext(sealKey(contextKey), { agency, role: 'platform', clearance: 5, expiresAt });
}
