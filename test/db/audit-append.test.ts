import { beforeAll, describe, expect, it } from 'vitest';

import { type AuditEntry, appendAudit } from '../../src/audit/append.ts';
import { canonicalBytes } from '../../src/canonical-json.ts';
import { sql } from '../../src/db/sql.ts';
import { inTenant } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
const entry: AuditEntry = {
  actor: 'someone@example.gov',
  role: 'operator',
  action: 'run.start',
  resourceType: 'run',
  resourceId: 'r-1',
  success: true,
  reason: 'monthly',
  before: null,
  after: { b: 1, a: [true, 'ü'] },
  traceId: 't-1',
  requestId: 'q-1',
  ip: '192.0.2.1',
  userAgent: 'test',
};

beforeAll(async () => {
  await database.addAgency('bls');
  await database.addAgency('faa');
});

const stored = async (entryId: string) =>
  (
    await database.admin().query<{ body: Buffer; at: string }>(sql`
    select body, agency_id, actor, action, success, error_code, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
    from flux.audit_entries where entry_id = ${entryId}
  `)
  ).rows[0];

describe('appendAudit', () => {
  it('stores the canonical bytes of the whole entry, its id, agency and microseconds included', async () => {
    const id = await inTenant(database.apiPool(), database.tenant('bls'), (tx) => appendAudit(tx, entry));
    const row = await stored(id);
    expect(row).toMatchObject({
      agency_id: 'bls',
      actor: 'someone@example.gov',
      action: 'run.start',
      success: true,
      error_code: null,
    });
    const told = JSON.parse((row as { body: Buffer }).body.toString()) as Record<string, unknown>;
    expect(told).toEqual({ ...entry, entryId: id, agencyId: 'bls', at: row?.at, errorCode: null });
    expect(canonicalBytes(told).equals((row as { body: Buffer }).body)).toBe(true);
  });

  it('fills in null for what is left out, and keeps a refusal’s code', async () => {
    const id = await inTenant(database.apiPool(), database.tenant('faa'), (tx) =>
      appendAudit(tx, {
        actor: 'a',
        role: 'viewer',
        action: 'run.start',
        resourceType: 'run',
        success: false,
        errorCode: 'FORBIDDEN',
      }),
    );
    const row = await stored(id);
    expect(row).toMatchObject({ agency_id: 'faa', error_code: 'FORBIDDEN' });
    expect(JSON.parse((row as { body: Buffer }).body.toString())).toMatchObject({
      reason: null,
      ip: null,
      resourceId: null,
    });
  });

  it('writes for the session’s own agency only, and nobody changes or removes what is written', async () => {
    await database.agencyPool('bls').query(sql`select 1`);
    const id = await appendAudit(database.agencyPool('bls'), { ...entry, actor: 'worker:w', role: 'worker' });
    expect(await stored(id)).toMatchObject({ agency_id: 'bls' });
    const worker = database.agencyPool('bls');
    await expect(worker.query(sql`update flux.audit_entries set actor = 'x'`)).rejects.toMatchObject({ code: '42501' });
    await expect(worker.query(sql`delete from flux.audit_entries`)).rejects.toMatchObject({ code: '42501' });
    await expect(worker.query(sql`select * from flux.audit_entries`)).rejects.toMatchObject({ code: '42501' });
    await expect(database.admin().query(sql`delete from flux.audit_entries`)).rejects.toMatchObject({ code: '42501' });
  });

  it('fails without a tenant', async () => {
    await expect(appendAudit(database.apiPool(), entry)).rejects.toMatchObject({ code: '42501' });
  });
});
