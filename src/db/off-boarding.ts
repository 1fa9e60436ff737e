import { lakeSchema } from './roles.ts';
import type { Queryable } from './pool.ts';
import { ident, sql } from './sql.ts';

/** Takes what was stored unsealed out of an agency's rows (before it had keys, or while sealing was off), and its webhooks. @returns rows changed */
export async function removePlainContent(
  tx: Queryable,
  agency: string,
): Promise<{ payloads: number; records: number; plans: number; webhooks: number }> {
  const { rowCount: payloads } = await tx.query(sql`
    update flux.runs
    set payload = payload - 'source' - 'metadata'
    where agency_id = ${agency}
      and payload ?| array['source', 'metadata']
  `);
  const { rowCount: records } = await tx.query(sql`
    update flux.rejected_records
    set raw = null, reasons = '[]'
    where agency_id = ${agency}
      and sealed is null
      and (raw is not null or reasons <> '[]')
  `);
  // What a dry run found quotes values where nothing is sealed.
  const { rowCount: plans } = await tx.query(sql`
    update flux.runs
    set dry_run_plan = null
    where agency_id = ${agency}
      and dry_run_plan is not null
  `);
  // Their addresses are no secret of the data, but an old secret under FLUX_DATA_KEY would outlive the agency's keys.
  const { rowCount: webhooks } = await tx.query(sql`delete from flux.webhooks where agency_id = ${agency}`);
  return { payloads, records, plans, webhooks };
}

/** Sealed values of an agency's rows, of each kind one, for an attempt to open them; and how many there are. */
export async function sampleSealedRows(
  tx: Queryable,
  agency: string,
): Promise<{
  payloads: number;
  records: number;
  payload: { runId: string; sealed: Buffer } | null;
  record: { recordNo: bigint; sealed: Buffer } | null;
}> {
  const { rows } = await tx.query<{
    payloads: number;
    records: number;
    runId: string | null;
    sealed: Buffer | null;
    recordNo: bigint | null;
    recordSealed: Buffer | null;
  }>(sql`
    select
      (select count(*)::int from flux.runs where agency_id = ${agency} and payload_sealed is not null) as payloads,
      (select count(*)::int from flux.rejected_records where agency_id = ${agency} and sealed is not null) as records,
      p.run_id as "runId",
      p.payload_sealed as sealed,
      j.record_no as "recordNo",
      j.sealed as "recordSealed"
    from (select 1) one
    left join lateral (
      select run_id, payload_sealed from flux.runs where agency_id = ${agency} and payload_sealed is not null limit 1
    ) p on true
    left join lateral (
      select record_no, sealed from flux.rejected_records where agency_id = ${agency} and sealed is not null limit 1
    ) j on true
  `);
  const { payloads = 0, records = 0, runId, sealed, recordNo = null, recordSealed } = rows[0] ?? {};
  return {
    payloads,
    records,
    payload: runId && sealed ? { runId, sealed } : null,
    record: recordNo !== null && recordSealed ? { recordNo, sealed: recordSealed } : null,
  };
}

/** Drops some tables of an agency's lake: each takes locks, and one transaction cannot hold as many as a lake may need. @returns how many */
export async function dropLakeTables(tx: Queryable, agency: string, limit: number): Promise<number> {
  const lake = lakeSchema(agency);
  // A partitioned dataset goes after its loads, so that no drop takes more than it names.
  const { rows } = await tx.query<{ name: string }>(sql`
    select c.relname::text as name
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = ${lake}
      and c.relkind in ('r', 'p')
    order by c.relispartition desc, c.relkind desc, c.relname
    limit ${limit}
  `);
  for (const { name } of rows) await tx.query(sql`drop table if exists ${ident(lake, name)} cascade`);
  return rows.length;
}

/** Drops an agency's lake and its two logins. The caller holds the structure lock; the logins were closed before. */
export async function dropAgencyRoles(tx: Queryable, agency: string, roles: readonly string[]): Promise<void> {
  await tx.query(sql`drop schema if exists ${ident(lakeSchema(agency))} cascade`);
  const { rows } = await tx.query<{ role: string; superuser: boolean }>(sql`
    select r.rolname::text as role, (select rolsuper from pg_roles where rolname = current_user) as superuser
    from pg_roles r
    where r.rolname = any (${[...roles]})
  `);
  for (const { role, superuser } of rows) {
    // Only a member may drop what a role owns; a superuser is a member of all.
    if (!superuser) await tx.query(sql`grant ${ident(role)} to current_user`);
    await tx.query(sql`drop owned by ${ident(role)} cascade`);
    await tx.query(sql`drop role ${ident(role)}`);
  }
}

/** Rewrites the table of keys, so that no page of it still holds what an update has left behind. */
export async function rewriteDataKeys(admin: Queryable): Promise<void> {
  await admin.query(sql`vacuum (full) flux.data_keys`);
}

/** What of an agency is still in the database: its logins, its lake, keys that live. */
export async function remainsOfAgency(
  tx: Queryable,
  agency: string,
  roles: readonly string[],
): Promise<{ roles: number; lakes: number; liveKeys: number; auditEntries: number; runs: number }> {
  const { rows } = await tx.query<{
    roles: number;
    lakes: number;
    liveKeys: number;
    auditEntries: number;
    runs: number;
  }>(sql`
    select
      (select count(*)::int from pg_roles where rolname = any (${[...roles]})) as roles,
      (select count(*)::int from pg_namespace where nspname = ${lakeSchema(agency)}) as lakes,
      (select count(*)::int from flux.data_keys where agency_id = ${agency} and wrapped is not null) as "liveKeys",
      (select count(*)::int from flux.audit_entries where agency_id = ${agency}) as "auditEntries",
      (select count(*)::int from flux.runs where agency_id = ${agency}) as runs
  `);
  return rows[0] as { roles: number; lakes: number; liveKeys: number; auditEntries: number; runs: number };
}
