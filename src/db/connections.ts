import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** An agency's named access to a source. */
export interface SourceConnection {
  name: string;
  kind: string;
  title: string | null;
  config: Record<string, unknown>;
  /** Whether credentials are kept for it. */
  hasSecret: boolean;
  version: bigint;
  createdBy: string;
  createdAt: Date;
  updatedAt: Date;
}

const connectionColumns = sql`
  name,
  kind,
  title,
  config,
  secret is not null as "hasSecret",
  version,
  created_by as "createdBy",
  created_at as "createdAt",
  updated_at as "updatedAt"
`;

export async function findConnection(db: Queryable, name: string): Promise<SourceConnection | null> {
  const { rows } = await db.query<SourceConnection>(sql`
    select ${connectionColumns}
    from flux.connections
    where agency_id = (select flux.current_agency())
      and name = ${name}
  `);
  return rows[0] ?? null;
}

/** A connection's credentials as they are kept, sealed; null where it has none. */
export async function findConnectionSecret(db: Queryable, name: string): Promise<Buffer | null> {
  const { rows } = await db.query<{ secret: Buffer | null }>(sql`
    select secret
    from flux.connections
    where agency_id = (select flux.current_agency())
      and name = ${name}
  `);
  return rows[0]?.secret ?? null;
}

/** Pages through connections by name. @param limit rows, 1 to 201 */
export async function listConnections(
  db: Queryable,
  { after, limit, backward }: { after: string | null; limit: number; backward?: boolean },
): Promise<SourceConnection[]> {
  const { from, order } = direction(backward);
  const { rows } = await db.query<SourceConnection>(sql`
    select ${connectionColumns}
    from flux.connections
    where agency_id = (select flux.current_agency())
      and (${after}::text is null or name ${from} ${after})
    order by name ${order}
    limit ${limit}
  `);
  return rows;
}

/**
 * Creates a connection, or gives an existing one a new configuration and the next version.
 *
 * @param connection.secret sealed; null takes it away, undefined leaves it as it is
 */
export async function saveConnection(
  db: Queryable,
  {
    name,
    kind,
    title,
    config,
    createdBy,
    secret,
  }: Pick<SourceConnection, 'name' | 'kind' | 'title' | 'config' | 'createdBy'> & {
    secret?: Buffer | null | undefined;
  },
): Promise<SourceConnection> {
  const { rows } = await db.query<SourceConnection>(sql`
    insert into flux.connections as c (agency_id, name, kind, title, config, secret, created_by)
    values (flux.current_agency(), ${name}, ${kind}, ${title}, ${JSON.stringify(config)}, ${secret ?? null}, ${createdBy})
    on conflict (agency_id, name) do update
    set title = excluded.title,
        config = excluded.config,
        secret = case when ${secret === undefined} then c.secret else excluded.secret end,
        version = c.version + 1,
        updated_at = clock_timestamp()
    returning ${connectionColumns}
  `);
  return rows[0] as SourceConnection;
}
