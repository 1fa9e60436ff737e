import { FluxError } from '../errors.ts';
import type { Queryable } from './pool.ts';
import { agencyRole, ensureRole, lakeSchema, rolePassword } from './roles.ts';
import { ident, literal, sql } from './sql.ts';

/**
 * Creates an agency's two logins and its lake, or brings them back to what they must be. The caller holds the structure
 * lock and has a transaction open as the admin.
 *
 * @throws CONFIG_INVALID a login of that name belongs to another database of the server
 */
export async function ensureAgencyLogins(tx: Queryable, agency: string, contextKey: Buffer): Promise<void> {
  const { database, superuser } = await whoAmI(tx);
  const [rw, ro] = [agencyRole(database, agency, 'rw'), agencyRole(database, agency, 'ro')];
  for (const [role, access] of [
    [rw, 'rw'],
    [ro, 'ro'],
  ] as const) {
    await refuseForeignRole(tx, role, database);
    await ensureRole(tx, role, rolePassword(contextKey, role));
    await tx.query(sql`comment on role ${ident(role)} is ${literal(roleComment(database))}`);
    await tx.query(sql`grant connect on database ${ident(database)} to ${ident(role)}`);
    await registerLogin(tx, { agency, access, role });
  }
  // Only a member may create things for a role; a superuser is a member of all.
  if (!superuser) await tx.query(sql`grant ${ident(rw)} to current_user`);
  await ensureLake(tx, lakeSchema(agency), rw, ro);
  await tx.query(
    sql`select flux.grant_agency_login(${rw}, ${ro}), flux.grant_agency_runs(${rw}), flux.grant_agency_retention(${rw}), flux.grant_agency_keys(${rw}), flux.grant_agency_webhooks(${rw}), flux.grant_agency_scheduling(${rw}), flux.grant_agency_uploads(${rw})`,
  );
  if (!superuser) await tx.query(sql`revoke ${ident(rw)} from current_user`);
}

/** The lake belongs to the rw login. The ro login reads datasets; src/db/lake.ts keeps unpublished loads from it. */
async function ensureLake(tx: Queryable, lake: string, rw: string, ro: string): Promise<void> {
  await tx.query(sql`create schema if not exists ${ident(lake)} authorization ${ident(rw)}`);
  await tx.query(sql`alter schema ${ident(lake)} owner to ${ident(rw)}`);
  await tx.query(sql`grant usage on schema ${ident(lake)} to ${ident(ro)}`);
  await tx.query(sql`
    alter default privileges for role ${ident(rw)} in schema ${ident(lake)} grant select on tables to ${ident(ro)}
  `);
}

/**
 * Takes an agency's logins away: nobody can log in as it, no worker can claim for it. Its lake, definitions and evidence
 * stay. Open sessions of the logins end.
 */
export async function closeAgencyLogins(tx: Queryable, agency: string): Promise<void> {
  const { rows } = await tx.query<{ role: string }>(sql`
    delete from flux.agency_logins
    where agency_id = ${agency}
    returning role_name::text as role
  `);
  for (const { role } of rows) {
    await tx.query(sql`alter role ${ident(role)} with nologin`);
    await tx.query(sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${role}`);
  }
}

async function registerLogin(
  tx: Queryable,
  { agency, access, role }: { agency: string; access: 'rw' | 'ro'; role: string },
): Promise<void> {
  await tx.query(sql`
    insert into flux.agency_logins (agency_id, role_name, access)
    values (${agency}, ${role}, ${access})
    on conflict (agency_id, access) do update set role_name = excluded.role_name
  `);
}

/** Roles belong to the server, so the comment says which of its databases made one. */
function roleComment(database: string): string {
  return `Flux, database ${database}`;
}

async function refuseForeignRole(tx: Queryable, role: string, database: string): Promise<void> {
  const { rows } = await tx.query<{ comment: string | null; otherExists: boolean }>(sql`
    select shobj_description(r.oid, 'pg_authid') as comment,
      exists (
        select from pg_database d
        where d.datname <> ${database}
          and shobj_description(r.oid, 'pg_authid') = 'Flux, database ' || d.datname
      ) as "otherExists"
    from pg_roles r
    where r.rolname = ${role}
  `);
  const found = rows[0];
  // The role of a database that is gone may be taken over; one without our comment is somebody's own.
  if (!found || found.comment === roleComment(database)) return;
  if (found.comment?.startsWith('Flux, database ') && !found.otherExists) return;
  throw new FluxError(
    'CONFIG_INVALID',
    `The login ${role} exists and belongs to ${found.comment ?? 'something other than Flux'}. Give this database another name, or the agency another slug.`,
  );
}

async function whoAmI(tx: Queryable): Promise<{ database: string; superuser: boolean }> {
  const { rows } = await tx.query<{ database: string; superuser: boolean }>(
    sql`select current_database() as database, rolsuper as superuser from pg_roles where rolname = current_user`,
  );
  return rows[0] as { database: string; superuser: boolean };
}
