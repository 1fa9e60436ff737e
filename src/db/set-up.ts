/** What a server says of the set-up on it, to an admin, for `flux doctor`. */
import type { Queryable } from './pool.ts';
import type { PlatformRoles } from './roles.ts';
import { sql } from './sql.ts';

export interface ServerFacts {
  /** Milliseconds since 1970, by the server's clock. */
  nowMs: number;
  encoding: string;
  /** This connection is encrypted. */
  encrypted: boolean;
  /** Row-level security does not bind who asks. */
  superuser: boolean;
  /** Connections that ordinary logins may have, and those that are open now. */
  connectionsMax: number;
  connections: number;
  /** API and worker processes that are connected to this database. */
  processes: number;
}

export async function serverFacts(db: Queryable): Promise<ServerFacts> {
  const { rows } = await db.query<ServerFacts>(sql`
    select
      (extract(epoch from clock_timestamp()) * 1000)::double precision as "nowMs",
      getdatabaseencoding() as encoding,
      coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as encrypted,
      (select rolsuper from pg_roles where rolname = current_user) as superuser,
      current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0) as "connectionsMax",
      (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as connections,
      (select count(*)::int from pg_stat_activity
       where datname = current_database() and application_name in ('flux api', 'flux worker health')) as processes
  `);
  return rows[0] as ServerFacts;
}

/** Of Flux's logins and owners: which are not there, and which may do more than row-level security can hold. */
export async function roleFaults(db: Queryable, roles: PlatformRoles): Promise<string[]> {
  const { rows } = await db.query<{ fault: string }>(sql`
    select format('%s is not there', wanted) as fault
    from unnest(${Object.values(roles)}::text[]) wanted
    where not exists (select from pg_roles where rolname = wanted)
    union all
    select format('%s %s', r.rolname, concat_ws(' and ',
      case when r.rolsuper then 'is a superuser' end,
      case when r.rolbypassrls then 'passes by row-level security' end,
      case when r.rolcreaterole then 'may create roles' end))
    from pg_roles r
    where (r.rolname = any(${Object.values(roles)}::text[])
        or exists (select from flux.agency_logins l where l.role_name = r.rolname))
      and (r.rolsuper or r.rolbypassrls or r.rolcreaterole)
    order by 1
  `);
  return rows.map(({ fault }) => fault);
}

/** Tables of agencies whose row-level security is off, or does not bind their owner. */
export async function unguardedTables(db: Queryable): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(sql`
    select c.relname::text as name
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'flux'
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'agency_id' and not a.attisdropped
    where c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)
    order by 1
  `);
  return rows.map(({ name }) => name);
}

export interface LeaseFacts {
  /** Partitions at work whose lease has run out so long ago that a worker should have taken them. */
  abandoned: number;
  /** Workers that said a moment ago that they are there. */
  workers: number;
}

/** @param graceSeconds after which a living worker would have taken one up */
export async function leaseFacts(db: Queryable, graceSeconds: number): Promise<LeaseFacts> {
  const { rows } = await db.query<LeaseFacts>(sql`
    select
      (select count(*)::int from flux.run_partitions
       where status = 'EXECUTING' and lease_expires_at < clock_timestamp() - make_interval(secs => ${graceSeconds})) as abandoned,
      (select count(*)::int from flux.workers
       where state = 'WORKING' and seen_at > clock_timestamp() - interval '10 seconds') as workers
  `);
  return rows[0] as LeaseFacts;
}
