import { type ActivityLog, createActivityLog } from '../../src/audit/activity-log.ts';
import { sealForAudit } from '../../src/auth/tenant-context.ts';
import { sealKey } from '../../src/db/migrate.ts';
import type { TestDatabase } from './database.ts';

/** The activity log as the API has it, writing as the API's role; `complaints` are what it logged. */
export function databaseActivity(
  database: TestDatabase,
  options: { gatherMs?: number; waitingMax?: number; pool?: ReturnType<TestDatabase['apiPool']> } = {},
): ActivityLog & { complaints: object[] } {
  const complaints: object[] = [];
  const log = {
    warn: (fields: object) => void complaints.push(fields),
    error: (fields: object) => void complaints.push(fields),
  };
  const { pool = database.apiPool(), ...times } = options;
  const activity = createActivityLog({ pool, sealFor: sealForAudit(sealKey(database.contextKey)), log, ...times });
  return { ...activity, complaints };
}
