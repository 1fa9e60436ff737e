import { direction } from './paging.ts';
import type { Queryable } from './pool.ts';
import { sql } from './sql.ts';

/** An agency's named access to a source. */
export interface SourceConnection {
  name: string;
  kind: string;
  title: string | null;
  config: Record<string, unknown>;
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

/** Creates a connection, or gives an existing one a new configuration and the next version. */
export async function saveConnection(
  db: Queryable,
  { name, kind, title, config, createdBy }: Pick<SourceConnection, 'name' | 'kind' | 'title' | 'config' | 'createdBy'>,
): Promise<SourceConnection> {
  const { rows } = await db.query<SourceConnection>(sql`
    insert into flux.connections as c (agency_id, name, kind, title, config, created_by)
    values (flux.current_agency(), ${name}, ${kind}, ${title}, ${JSON.stringify(config)}, ${createdBy})
    on conflict (agency_id, name) do update
    set title = excluded.title,
        config = excluded.config,
        version = c.version + 1,
        updated_at = clock_timestamp()
    returning ${connectionColumns}
  `);
  return rows[0] as SourceConnection;
}
