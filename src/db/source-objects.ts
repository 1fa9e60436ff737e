import type { Queryable } from './pool.ts';
import type { Claim } from './queue.ts';
import { sql } from './sql.ts';

/** A run's pinned source. */
export interface SourceObject {
  /** Lower-case hex. */
  sha256: string;
  byteCount: number;
  address: string;
  connectionName: string;
  origin: string;
  mediaType: string;
  modifiedAt: Date | null;
  /** The data key's version under which it was pinned; null, or absent, for plain bytes. */
  keyVersion?: number | null;
  /** Its system's own name for exactly these bytes. */
  etag?: string | null;
  /** The connection as it was then. */
  connectionVersion?: bigint | null;
  /** Up to where it was read by a cursor column; null where all was read. */
  increment?: { cursor: string; value: string | null } | null;
}

const objectColumns = sql`
  encode(sha256, 'hex') as sha256,
  byte_count as "byteCount",
  address,
  connection_name as "connectionName",
  origin,
  media_type as "mediaType",
  modified_at as "modifiedAt",
  key_version as "keyVersion",
  etag,
  connection_version as "connectionVersion",
  case when cursor_column is not null then json_build_object('cursor', cursor_column, 'value', cursor_value) end as increment
`;
type Row = Omit<SourceObject, 'byteCount'> & { byteCount: bigint };

export async function insertSourceObject(tx: Queryable, claim: Claim, object: SourceObject): Promise<void> {
  await tx.query(sql`
    insert into flux.source_objects
      (agency_id, run_id, sha256, byte_count, address, connection_name, origin, media_type, modified_at,
        key_version, etag, connection_version, cursor_column, cursor_value)
    values (${claim.agencyId}, ${claim.runId}, ${Buffer.from(object.sha256, 'hex')}, ${object.byteCount}, ${object.address},
      ${object.connectionName}, ${object.origin}, ${object.mediaType}, ${object.modifiedAt}, ${object.keyVersion ?? null}::int,
      ${object.etag ?? null}, ${object.connectionVersion ?? null},
      ${object.increment?.cursor ?? null}, ${object.increment?.value ?? null})
  `);
}

/** The object that a run's plan has pinned; null before. */
export async function findSourceObject(db: Queryable, claim: Claim): Promise<SourceObject | null> {
  const { rows } = await db.query<Row>(sql`
    select ${objectColumns}
    from flux.source_objects
    where agency_id = ${claim.agencyId}
      and run_id = ${claim.runId}
  `);
  return one(rows);
}

/** The newest object of the session's agency that came from an origin by this version of a connection, and that has an ETag. */
export async function findKnownObject(
  db: Queryable,
  { agencyId, connection, origin }: { agencyId: string; connection: { name: string; version: bigint }; origin: string },
): Promise<SourceObject | null> {
  const { rows } = await db.query<Row>(sql`
    select ${objectColumns}
    from flux.source_objects
    where agency_id = ${agencyId}
      and connection_name = ${connection.name}
      and connection_version = ${connection.version}
      and origin = ${origin}
      and etag is not null
    order by pinned_at desc
    limit 1
  `);
  return one(rows);
}

/**
 * Where the newest completed run of a pipeline ended, by a cursor column, through the same connection; null where there is none. A
 * dry run pins nothing, and another version of the connection may lead elsewhere.
 */
export async function findCursorValue(
  db: Queryable,
  {
    agencyId,
    pipelineName,
    connection,
    cursor,
  }: { agencyId: string; pipelineName: string; connection: { name: string; version: bigint }; cursor: string },
): Promise<string | null> {
  const { rows } = await db.query<{ value: string | null }>(sql`
    select o.cursor_value as value
    from flux.runs r
    join flux.source_objects o on o.agency_id = r.agency_id and o.run_id = r.run_id
    where r.agency_id = ${agencyId}
      and r.pipeline_name = ${pipelineName}
      and r.status = 'COMPLETED'
      and r.stage = 'FULL'
      and o.connection_name = ${connection.name}
      and o.connection_version = ${connection.version}
      and o.cursor_column = ${cursor}
    order by r.run_id desc
    limit 1
  `);
  return rows[0]?.value ?? null;
}

/** A completed run of the pipeline that began after this one and read by the cursor; null where there is none. */
export async function hasLaterIncrement(
  db: Queryable,
  { agencyId, runId }: Claim,
  { pipelineName, cursor }: { pipelineName: string; cursor: string },
): Promise<string | null> {
  const { rows } = await db.query<{ id: string }>(sql`
    select r.run_id as id
    from flux.runs r
    join flux.source_objects o on o.agency_id = r.agency_id and o.run_id = r.run_id
    where r.agency_id = ${agencyId}
      and r.pipeline_name = ${pipelineName}
      and r.status = 'COMPLETED'
      and r.stage = 'FULL'
      and r.reprocess_of is null
      and r.run_id > ${runId}
      and o.cursor_column = ${cursor}
    order by r.run_id desc
    limit 1
  `);
  return rows[0]?.id ?? null;
}

/** The digest of what the pipeline's last run before this one has pinned; null where there is none. */
export async function findPreviousSha256(
  db: Queryable,
  { agencyId, runId }: Claim,
  pipelineName: string,
): Promise<string | null> {
  const { rows } = await db.query<{ sha256: string }>(sql`
    select encode(o.sha256, 'hex') as sha256
    from flux.runs r
    join flux.source_objects o on o.agency_id = r.agency_id and o.run_id = r.run_id
    where r.agency_id = ${agencyId}
      and r.pipeline_name = ${pipelineName}
      and r.run_id < ${runId}
    order by r.run_id desc
    limit 1
  `);
  return rows[0]?.sha256 ?? null;
}

function one([row]: Row[]): SourceObject | null {
  return row ? { ...row, byteCount: Number(row.byteCount) } : null;
}
