import { sha256Hex } from '../crypto/hash.ts';
import { hmacSha256 } from '../crypto/mac.ts';
import { type Queryable } from './pool.ts';
import { ident, join, literal, sql } from './sql.ts';

/** What an installation calls its five platform roles. */
export interface PlatformRoles {
  owner: string;
  definer: string;
  api: string;
  worker: string;
  sealer: string;
}

/** PostgreSQL cuts identifiers at 63 bytes without a word (manual 4.1.1), so two long names could become one. */
const identifierByteCountMax = 63;

/**
 * `flux` in a database of that name; elsewhere the database's name follows, because roles belong to the whole server and a
 * second installation must not share them.
 */
export function rolePrefix(database: string): string {
  return database === 'flux' ? 'flux' : `flux_${database.replaceAll(/[^A-Za-z0-9_]/g, '_').toLowerCase()}`;
}

export function platformRoles(prefix: string): PlatformRoles {
  return {
    owner: shorten(`${prefix}_owner`),
    definer: shorten(`${prefix}_definer`),
    api: shorten(`${prefix}_api`),
    worker: shorten(`${prefix}_worker`),
    sealer: shorten(`${prefix}_sealer`),
  };
}

/** The login of an agency: `rw` works its partitions, `ro` reads its lake. */
export function agencyRole(database: string, agency: string, access: 'rw' | 'ro'): string {
  return shorten(`${rolePrefix(database)}_${agency.replaceAll('-', '_')}_${access}`);
}

/** The database schema that holds an agency's datasets. */
export function lakeSchema(agency: string): string {
  return shorten(`lake_${agency.replaceAll('-', '_')}`);
}

/** A login's password, derived, so that no process has to store or be told it. @param contextKey FLUX_CONTEXT_KEY */
export function rolePassword(contextKey: Buffer, role: string): string {
  return hmacSha256(contextKey, `flux role password\0${role}`).toString('hex');
}

/** Keeps an identifier within PostgreSQL's limit: a long one ends in a hash of the whole. */
export function shorten(name: string): string {
  if (Buffer.byteLength(name) <= identifierByteCountMax) return name;
  const digest = sha256Hex(name).slice(0, 10);
  const tail = /_(rw|ro|owner|definer|api|worker|sealer)$/.exec(name)?.[0] ?? '';
  return `${name.slice(0, identifierByteCountMax - digest.length - tail.length - 1)}_${digest}${tail}`;
}

/**
 * Creates a role or brings it back to what it must be: no superuser, no BYPASSRLS, no role or database creation. The caller
 * holds the advisory lock, because concurrent role changes fail with "tuple concurrently updated".
 *
 * @throws 42501 when the admin URL's role may not create roles
 */
export async function ensureRole(db: Queryable, name: string, password: string | null): Promise<void> {
  const { rows } = await db.query<{ superuser: boolean; bypassrls: boolean; createdb: boolean }>(sql`
    select rolsuper as superuser, rolbypassrls as bypassrls, rolcreatedb as createdb
    from pg_roles
    where rolname = ${name}
  `);
  const login = password === null ? sql`nologin` : sql`login password ${literal(password)}`;
  const found = rows[0];
  if (!found) {
    await db.query(sql`create role ${ident(name)} with ${login} nocreatedb nocreaterole noinherit`);
    return;
  }
  // An admin may name only attributes that it has itself (PostgreSQL 16), so what is right already is left unsaid.
  const excess = [
    ...(found.superuser ? [sql`nosuperuser`] : []),
    ...(found.bypassrls ? [sql`nobypassrls`] : []),
    ...(found.createdb ? [sql`nocreatedb`] : []),
  ];
  await db.query(sql`alter role ${ident(name)} with ${login} nocreaterole noinherit ${join(excess, ' ')}`);
}

/** The same server and database under another login, whose password is the derived one. */
export function roleUrl(url: string, role: string, contextKey: Buffer): string {
  const other = new URL(url);
  other.username = encodeURIComponent(role);
  other.password = rolePassword(contextKey, role);
  return other.href;
}
