import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { type Anchor, anchorFile } from '../../src/audit/anchor.ts';
import { loadLedger } from '../../src/audit/ledger.ts';
import { batchLimit, step } from '../../src/audit/sealer.ts';
import type { SignatureAlgorithm } from '../../src/audit/signed-note.ts';
import { leadAudit } from '../../src/db/audit-sealing.ts';
import { connect } from '../../src/db/pool.ts';
import { sql } from '../../src/db/sql.ts';
import type { TestDatabase } from './database.ts';

export const testAuditKey = Buffer.alloc(32, 0x5a);

/** What an agency's entries say, sealed or not, oldest first. */
export async function auditBodies(database: TestDatabase, agency: string): Promise<Record<string, unknown>[]> {
  const { rows } = await database.admin().query<{ body: Record<string, unknown> }>(sql`
    select convert_from(body, 'UTF8')::jsonb as body
    from (
      select at, entry_id, body from flux.audit_inbox where agency_id = ${agency}
      union all
      select at, entry_id, body from flux.audit_entries where agency_id = ${agency}
    ) as entries
    order by at, entry_id
  `);
  return rows.map(({ body }) => body);
}

/** An anchor in a folder of its own. */
export async function scratchAnchor(): Promise<Anchor & { file: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'flux-anchor-'));
  const file = path.join(folder, 'audit-anchor');
  return { ...anchorFile(file), file, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** Seals and signs everything that waits, as the sealer does. @returns what it complained about */
export async function sealAll(
  database: TestDatabase,
  anchor: Anchor,
  auditAlgorithm: SignatureAlgorithm = 'ed25519',
): Promise<object[]> {
  const connection = await connect({
    url: database.urlFor(database.roles.sealer),
    applicationName: 'flux test sealer',
  });
  const complaints: object[] = [];
  try {
    const sealer = 'test';
    const epoch = await leadAudit(connection, { sealer, epoch: null, leaseMs: 10_000 });
    if (epoch === null) throw new Error('another sealer leads');
    const log = { error: (fields: object) => void complaints.push(fields) };
    const ledger = await loadLedger(connection, { auditKey: testAuditKey, auditAlgorithm, anchor, log });
    while ((await step(connection, epoch, ledger, { anchor }, true)) === batchLimit);
    await leadAudit(connection, { sealer, epoch, leaseMs: 0 });
    return complaints;
  } finally {
    await connection.end();
  }
}
