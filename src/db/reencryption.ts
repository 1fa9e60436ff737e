/**
 * What of an agency is sealed, and under which version of its keys, as the statements of re-encryption see it. Rows are taken in the order of
 * their keys and `skip locked`: whoever works on one now keeps it, and the next pass comes back for it.
 */
import type { Queryable } from './pool.ts';
import { type Sql, sql } from './sql.ts';

/** An object whose rows name another key than the newest. */
export interface SealedObjectRow {
  address: string;
  /** Lower-case hex, of the content. */
  sha256: string;
  byteCount: bigint;
  /** Null: plain. */
  keyVersion: number | null;
}

/** An object that was stored again. */
export interface MovedObject {
  from: string;
  to: string;
  keyVersion: number;
}

export interface Batch {
  agency: string;
  /** The newest version, under which everything is to be. */
  version: number;
  /** Whether plain content is taken too. */
  plain: boolean;
  limit: number;
}

/** Objects after an address in its order. */
export async function listOldObjects(
  db: Queryable,
  { agency, version, plain, limit }: Batch,
  after: string,
): Promise<SealedObjectRow[]> {
  const old = (table: Sql) => sql`
    select address, sha256, byte_count, key_version from ${table}
    where agency_id = ${agency} and address > ${after}
      and (key_version < ${version} or (${plain}::boolean and key_version is null))
  `;
  const { rows } = await db.query<SealedObjectRow>(sql`
    select address, encode(sha256, 'hex') as sha256, byte_count as "byteCount", key_version as "keyVersion"
    from (${old(sql`flux.source_objects`)} union ${old(sql`flux.run_parts`)}) o
    order by address
    limit ${limit}
  `);
  return rows;
}

/**
 * Lets all rows of some objects name their new places. The old ones expire: retention removes their files once no step can
 * still be reading them. A new one that no row names, because its runs went meanwhile, expires too.
 */
export async function moveObjects(tx: Queryable, agency: string, moved: readonly MovedObject[]): Promise<void> {
  const list = sql`unnest(
    ${moved.map(({ from }) => from)}::text[], ${moved.map(({ to }) => to)}::text[], ${moved.map(({ keyVersion }) => keyVersion)}::int[]
  ) as m (old_address, new_address, new_version)`;
  for (const table of [sql`flux.source_objects`, sql`flux.run_parts`]) {
    await tx.query(sql`
      update ${table} o
      set address = m.new_address, key_version = m.new_version
      from ${list}
      where o.agency_id = ${agency} and o.address = m.old_address
    `);
  }
  await tx.query(sql`
    insert into flux.expired_objects (agency_id, address)
    select distinct ${agency}, a.address
    from ${list}
    cross join lateral (values (m.old_address), (m.new_address)) a (address)
    where not exists (select from flux.source_objects o where o.agency_id = ${agency} and o.address = a.address)
      and not exists (select from flux.run_parts p where p.agency_id = ${agency} and p.address = a.address)
    on conflict (agency_id, address) do update set expired_at = clock_timestamp()
  `);
  await tx.query(sql`
    delete from flux.expired_objects e
    using ${list}
    where e.agency_id = ${agency} and e.address = m.new_address
      and (exists (select from flux.source_objects o where o.agency_id = ${agency} and o.address = e.address)
        or exists (select from flux.run_parts p where p.agency_id = ${agency} and p.address = e.address))
  `);
}

export interface PayloadRow {
  runId: string;
  payload: Record<string, unknown>;
  sealed: Buffer | null;
}

const noRun = '00000000-0000-0000-0000-000000000000';

/** Payloads of runs after one, locked. @param open names that stand in plain in any case */
export async function lockOldPayloads(
  tx: Queryable,
  { agency, version, plain, limit }: Batch,
  after: string | null,
  open: readonly string[],
): Promise<PayloadRow[]> {
  const { rows } = await tx.query<PayloadRow>(sql`
    select run_id as "runId", payload, payload_sealed as sealed
    from flux.runs
    where agency_id = ${agency} and run_id > ${after ?? noRun}::uuid
      and (substring(payload_sealed from 2 for 4) < int4send(${version}::int)
        or (${plain}::boolean and payload_sealed is null and payload - ${[...open]}::text[] <> '{}'))
    order by run_id
    limit ${limit}
    for update skip locked
  `);
  return rows;
}

export async function replacePayload(
  tx: Queryable,
  agency: string,
  { runId, payload, sealed }: PayloadRow,
): Promise<void> {
  await tx.query(sql`
    update flux.runs set payload = ${JSON.stringify(payload)}, payload_sealed = ${sealed}::bytea
    where agency_id = ${agency} and run_id = ${runId}
  `);
}

export interface RejectedRow {
  runId: string;
  recordNo: bigint;
  contractName: string | null;
  contractVersion: number | null;
  reasons: { path: string; rule: string; message: string }[];
  raw: string | null;
  sealed: Buffer | null;
  sourceSha256: string;
}

/** Refused records after one of a run, locked. */
export async function lockOldRejected(
  tx: Queryable,
  { agency, version, plain, limit }: Batch,
  after: Pick<RejectedRow, 'runId' | 'recordNo'> | null,
): Promise<RejectedRow[]> {
  const { rows } = await tx.query<RejectedRow>(sql`
    select j.run_id as "runId", j.record_no as "recordNo", j.contract_name as "contractName",
      j.contract_version as "contractVersion", j.reasons, j.raw, j.sealed, encode(o.sha256, 'hex') as "sourceSha256"
    from flux.rejected_records j
    join flux.source_objects o on o.agency_id = j.agency_id and o.run_id = j.run_id
    where j.agency_id = ${agency}
      and (j.run_id, j.record_no) > (${after?.runId ?? noRun}::uuid, ${after?.recordNo ?? 0n}::bigint)
      and (substring(j.sealed from 2 for 4) < int4send(${version}::int)
        or (${plain}::boolean and j.sealed is null and (j.raw is not null or j.reasons <> '[]')))
    order by j.run_id, j.record_no
    limit ${limit}
    for update of j skip locked
  `);
  return rows;
}

export async function replaceRejected(
  tx: Queryable,
  agency: string,
  records: readonly { runId: string; recordNo: bigint; sealed: Buffer }[],
): Promise<void> {
  await tx.query(sql`
    update flux.rejected_records j
    set raw = null, reasons = '[]', sealed = r.sealed
    from unnest(
      ${records.map(({ runId }) => runId)}::uuid[], ${records.map(({ recordNo }) => recordNo)}::bigint[],
      ${records.map(({ sealed }) => sealed)}::bytea[]
    ) as r (run_id, record_no, sealed)
    where j.agency_id = ${agency} and j.run_id = r.run_id and j.record_no = r.record_no
  `);
}

export interface SecretRow {
  webhookId: string;
  secret: Buffer;
  previousSecret: Buffer | null;
}

/** Secrets of webhooks under another key than the newest, be it FLUX_DATA_KEY itself; locked. An agency has few. */
export async function lockOldSecrets(tx: Queryable, { agency, version, limit }: Batch): Promise<SecretRow[]> {
  const old = (column: Sql) =>
    sql`length(${column}) = 60 or substring(${column} from 2 for 4) < int4send(${version}::int)`;
  const { rows } = await tx.query<SecretRow>(sql`
    select webhook_id as "webhookId", secret, previous_secret as "previousSecret"
    from flux.webhooks
    where agency_id = ${agency} and (${old(sql`secret`)} or ${old(sql`previous_secret`)})
    order by webhook_id
    limit ${limit}
    for update skip locked
  `);
  return rows;
}

export async function replaceSecrets(
  tx: Queryable,
  agency: string,
  { webhookId, secret, previousSecret }: SecretRow,
): Promise<void> {
  await tx.query(sql`
    update flux.webhooks set secret = ${secret}::bytea, previous_secret = ${previousSecret}::bytea
    where agency_id = ${agency} and webhook_id = ${webhookId}
  `);
}

export interface ConnectionSecretRow {
  name: string;
  kind: string;
  secret: Buffer;
}

/** Secrets of connections under another key than the newest, locked. */
export async function lockOldConnectionSecrets(
  tx: Queryable,
  { agency, version, limit }: Batch,
): Promise<ConnectionSecretRow[]> {
  const { rows } = await tx.query<ConnectionSecretRow>(sql`
    select name, kind, secret
    from flux.connections
    where agency_id = ${agency} and substring(secret from 2 for 4) < int4send(${version}::int)
    order by name
    limit ${limit}
    for update skip locked
  `);
  return rows;
}

export async function replaceConnectionSecret(
  tx: Queryable,
  agency: string,
  { name, secret }: ConnectionSecretRow,
): Promise<void> {
  await tx.query(sql`
    update flux.connections set secret = ${secret}::bytea where agency_id = ${agency} and name = ${name}
  `);
}

/** What stands under older versions than the newest. */
export interface UnderOldKeys {
  objects: number;
  payloads: number;
  records: number;
  secrets: number;
}

export async function countUnderOldKeys(
  db: Queryable,
  agency: string,
  { objects, records }: { objects: number; records: number },
): Promise<UnderOldKeys> {
  const older = (column: Sql) => sql`substring(${column} from 2 for 4) < int4send(${records}::int)`;
  const { rows } = await db.query<UnderOldKeys>(sql`
    select
      (select count(*)::int from (
        select address from flux.source_objects where agency_id = ${agency} and key_version < ${objects}
        union select address from flux.run_parts where agency_id = ${agency} and key_version < ${objects}) o) as objects,
      (select count(*)::int from flux.runs where agency_id = ${agency} and ${older(sql`payload_sealed`)}) as payloads,
      (select count(*)::int from flux.rejected_records where agency_id = ${agency} and ${older(sql`sealed`)}) as records,
      (select count(*)::int from flux.webhooks
        where agency_id = ${agency} and ((length(secret) <> 60 and ${older(sql`secret`)})
          or (length(previous_secret) <> 60 and ${older(sql`previous_secret`)})))
      + (select count(*)::int from flux.connections where agency_id = ${agency} and ${older(sql`secret`)}) as secrets
  `);
  return rows[0] as UnderOldKeys;
}

/**
 * Holds the agency's keys alone until the transaction ends: whoever stores something sealed waits (migrations/0055).
 *
 * @throws 55P03 somebody's transaction did not end in five seconds
 */
export async function lockKeysAlone(tx: Queryable, agency: string): Promise<void> {
  await tx.query(sql`set local lock_timeout = '5s'`);
  await tx.query(sql`select pg_advisory_xact_lock(x'666c0055'::int, hashtext(${agency}))`);
}

/** Partitions at work since before the newest move of an object: they may know it by its old place. */
export async function countWorkFromBeforeMoves(db: Queryable, agency: string): Promise<number> {
  const { rows } = await db.query<{ count: number }>(sql`
    select count(*)::int as count
    from flux.run_partitions p
    where p.agency_id = ${agency} and p.status = 'EXECUTING'
      and coalesce(p.started_at, '-infinity') <= (select max(expired_at) from flux.expired_objects where agency_id = ${agency})
  `);
  return rows[0]?.count ?? 0;
}

/** Destroys the versions of an agency's keys before the newest. @returns which */
export async function destroyOldKeys(
  tx: Queryable,
  agency: string,
  newest: { objects: number; records: number },
): Promise<{ purpose: string; version: number }[]> {
  const { rows } = await tx.query<{ purpose: string; version: number }>(sql`
    update flux.data_keys
    set kek_id = null, wrapped = null, destroyed_at = clock_timestamp()
    where agency_id = ${agency} and destroyed_at is null
      and version < case purpose when 'objects' then ${newest.objects}::int else ${newest.records}::int end
    returning purpose, version
  `);
  return rows;
}
