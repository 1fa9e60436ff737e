import { beforeAll, describe, expect, it } from 'vitest';

import { type AuditEntry, appendAudit } from '../../src/audit/append.ts';
import { canonicalBytes } from '../../src/canonical-json.ts';
import { appendToInbox } from '../../src/db/audit-inbox.ts';
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
    select body, agency_id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
    from flux.audit_inbox where entry_id = ${entryId}
  `)
  ).rows[0];

describe('appendAudit', () => {
  it('stores the canonical bytes of the whole entry, its id, agency and microseconds included', async () => {
    const id = await inTenant(database.apiPool(), database.tenant('bls'), (tx) => appendAudit(tx, entry));
    const row = await stored(id);
    expect(row).toMatchObject({ agency_id: 'bls' });
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
    expect(row).toMatchObject({ agency_id: 'faa' });
    expect(JSON.parse((row as { body: Buffer }).body.toString())).toMatchObject({
      errorCode: 'FORBIDDEN',
      reason: null,
      ip: null,
      resourceId: null,
    });
  });

  it('writes for the session’s own agency only, and nobody changes or removes what is written', async () => {
    await database.agencyPool('bls').query(sql`select 1`);
    const id = await appendAudit(database.agencyPool('bls'), { ...entry, actor: 'worker:w', role: 'worker' });
    expect(await stored(id)).toMatchObject({ agency_id: 'bls' });
    for (const pool of [database.agencyPool('bls'), database.apiPool(), database.workerPool()]) {
      for (const statement of [
        sql`select from flux.audit_inbox`,
        sql`insert into flux.audit_inbox (agency_id, entry_id, at, body) values ('bls', flux.uuid_v7(), now(), '')`,
        sql`update flux.audit_inbox set body = ''`,
        sql`delete from flux.audit_inbox`,
        sql`truncate flux.audit_inbox`,
        sql`insert into flux.audit_entries select * from flux.audit_entries`,
        sql`update flux.audit_entries set actor = 'x'`,
        sql`delete from flux.audit_entries`,
        sql`select flux.lead_audit('mallory', null, 1000)`,
        sql`select flux.seal_audit(1, '{}', '{}', '{}', '')`,
        sql`select flux.prune_audit('bls', 1)`,
      ]) {
        await expect(pool.query(statement)).rejects.toMatchObject({ code: '42501' });
      }
    }
    await expect(database.admin().query(sql`update flux.audit_inbox set body = ''`)).rejects.toMatchObject({
      code: '42501',
    });
  });

  it('lets no caller choose the agency, the time or the id', async () => {
    const parts = {
      head: '{"action":"a.b","actor":"x","after":null',
      middle: '"before":null',
      tail: '"resourceType":"run","role":"viewer","success":true',
    };
    const append = (more: string) =>
      inTenant(database.apiPool(), database.tenant('bls'), (tx) =>
        appendToInbox(tx, { ...parts, tail: `${parts.tail}${more}}` }),
      );
    await append('');
    await expect(append(',"agencyId":"faa"')).rejects.toMatchObject({ code: '22023' });
    await expect(append(',"entryId":"1"')).rejects.toMatchObject({ code: '22023' });
    await expect(append(',"actor":null')).rejects.toMatchObject({ code: '22023' });
    await expect(append(',}')).rejects.toMatchObject({ code: '22P02' });
  });

  it('fails without a tenant', async () => {
    await expect(appendAudit(database.apiPool(), entry)).rejects.toMatchObject({ code: '42501' });
  });
});
