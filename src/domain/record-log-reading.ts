import { appendAudit } from '../audit/append.ts';
import { connectAdmin } from '../db/connect-admin.ts';
import { asAgency, type Operator } from './operator.ts';

/** Leaves an entry in the log of each agency whose log the platform operator has read. */
export async function recordLogReading(
  { adminUrl, contextKey, actor }: Operator,
  slugs: readonly string[],
  what: { action: string; after?: object },
): Promise<void> {
  const admin = await connectAdmin(adminUrl, 'flux audit');
  try {
    for (const slug of slugs) {
      await asAgency(admin, contextKey, slug, (tx) =>
        appendAudit(tx, {
          actor,
          role: 'platform',
          action: what.action,
          resourceType: 'audit',
          resourceId: slug,
          success: true,
          after: what.after ?? null,
        }),
      );
    }
  } finally {
    await admin.end();
  }
}
