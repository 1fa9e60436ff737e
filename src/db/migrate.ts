import { readdir, readFile } from 'node:fs/promises';

import { sha256, sha256Hex } from '../crypto/hash.ts';
import { hmacSha256 } from '../crypto/mac.ts';
import { FluxError } from '../errors.ts';
import { ensureAgencyLogins } from './agency-logins.ts';
import { connectAdmin } from './connect-admin.ts';
import type { Connection } from './pool.ts';
import { ensureRole, type PlatformRoles, platformRoles, rolePassword, rolePrefix } from './roles.ts';
import { ident, sql } from './sql.ts';
import { changeStructure, structurePatienceMs } from './structure-change.ts';
import { inTransaction } from './transaction.ts';

const folder = new URL('../../migrations/', import.meta.url);

/** One number for every change of roles and structure, so that migrators, and `flux agencies`, take turns. */
export const structureLock = 0x666c7578; // "flux"

/** CVE-2025-8713: before these minors a planner statistic could show rows that a policy hides. */
const serverVersionMin = [
  [150014, 160000],
  [160010, 170000],
  [170006, 180000],
  [180000, Infinity],
] as const;

export interface Migration {
  version: number;
  name: string;
  text: string;
  sha256: Buffer;
}

export interface MigrateOptions {
  contextKey: Buffer;
  /** For tests: another history than this version's. */
  migrations?: readonly Migration[];
  /** How long migrations try to get tables that others hold, all together; five minutes by default. */
  patienceMs?: number;
}

export interface MigrationReport {
  applied: string[];
  roles: PlatformRoles;
}

/** The migrations of this version, in order. A file is `NNNN_name.sql`. */
export async function readMigrations(): Promise<Migration[]> {
  const files = (await readdir(folder)).filter((file) => /^\d{4}_.*\.sql$/.test(file)).sort();
  return Promise.all(
    files.map(async (file) => {
      const text = await readFile(new URL(file, folder), 'utf8');
      return {
        version: Number(file.slice(0, 4)),
        name: file.slice(5, -4),
        text,
        sha256: sha256(text),
      };
    }),
  );
}

/**
 * Brings a database to this version: roles, then each missing migration in its own transaction, then the grants of the
 * agencies that exist. Safe to run from several processes at once: they take turns under an advisory lock. A migration gives way to
 * whoever works on its tables, and tries again.
 *
 * @param adminUrl a superuser's, or that of a role with CREATEROLE that owns the database
 * @throws MIGRATION_MISMATCH an applied file has changed, or the database is newer than this version
 * @throws UNAVAILABLE the server does not answer, or is too old; or others held a migration's tables for too long, and the
 *   migrations before it stand
 */
export async function migrate(adminUrl: string, options: MigrateOptions): Promise<MigrationReport> {
  const admin = await connectAdmin(adminUrl, 'flux migrate');
  try {
    return await underStructureLock(admin, () => bringUp(admin, options));
  } finally {
    await admin.end();
  }
}

/** Runs `work` while no other process changes roles or structure. The lock ends with the connection. */
export async function underStructureLock<T>(admin: Connection, work: () => Promise<T>): Promise<T> {
  await admin.query(sql`select pg_advisory_lock(${structureLock})`);
  try {
    return await work();
  } finally {
    await admin.query(sql`select pg_advisory_unlock(${structureLock})`).catch(() => undefined);
  }
}

async function bringUp(admin: Connection, { contextKey, ...options }: MigrateOptions): Promise<MigrationReport> {
  await requireServerVersion(admin);
  const prefix = await installedPrefix(admin);
  const roles = platformRoles(prefix);
  await ensurePlatformRoles(admin, roles, contextKey);
  const applied = await appliedMigrations(admin);
  const migrations = options.migrations ?? (await readMigrations());
  requireSameHistory(migrations, applied);
  const missing = migrations.filter((migration) => !applied.has(migration.version));
  const triesUntil = performance.now() + (options.patienceMs ?? structurePatienceMs);
  for (const migration of missing) {
    await changeStructure(
      admin,
      `Migration ${fullName(migration)}`,
      (tx) => apply(tx, migration, roles, prefix),
      triesUntil,
    );
  }
  const keyChanged = await storeSealKey(admin, roles, contextKey);
  await grantAgencies(admin, keyChanged ? contextKey : null);
  return { applied: missing.map(fullName), roles };
}

function fullName({ version, name }: Pick<Migration, 'version' | 'name'>): string {
  return `${String(version).padStart(4, '0')}_${name}`;
}

/** @param number as `server_version_num` has it: 180001 is 18.1 */
export function isSupportedServer(number: number): boolean {
  return serverVersionMin.some(([min, below]) => number >= min && number < below);
}

/** @throws UNAVAILABLE the server is too old */
export async function requireServerVersion(admin: Connection): Promise<void> {
  const { rows } = await admin.query<{ number: number; text: string }>(
    sql`select current_setting('server_version_num')::int as number, current_setting('server_version') as text`,
  );
  const { number, text } = rows[0] as { number: number; text: string };
  if (!isSupportedServer(number)) {
    throw new FluxError(
      'UNAVAILABLE',
      `Flux needs PostgreSQL 15.14, 16.10, 17.6, 18 or newer (CVE-2025-8713); this server is ${text}. Update it first.`,
    );
  }
}

/** A database keeps the prefix it was installed with, also under another name (a clone, a restore). */
async function installedPrefix(admin: Connection): Promise<string> {
  const { rows: exists } = await admin.query<{ database: string; installed: boolean }>(
    sql`select current_database() as database, to_regclass('flux.installation') is not null as installed`,
  );
  const { database, installed } = exists[0] as { database: string; installed: boolean };
  if (!installed) return rolePrefix(database);
  const { rows } = await admin.query<{ role_prefix: string }>(sql`select role_prefix from flux.installation`);
  return rows[0]?.role_prefix ?? rolePrefix(database);
}

async function ensurePlatformRoles(admin: Connection, roles: PlatformRoles, contextKey: Buffer): Promise<void> {
  await inTransaction(admin, async (tx) => {
    await ensureRole(tx, roles.owner, null);
    await ensureRole(tx, roles.definer, null);
    for (const login of [roles.api, roles.worker, roles.sealer]) {
      await ensureRole(tx, login, rolePassword(contextKey, login));
    }
    // A superuser may become any role; any other admin must be a member of the two that own things.
    const { rows } = await tx.query<{ database: string; superuser: boolean }>(
      sql`select current_database() as database, rolsuper as superuser from pg_roles where rolname = current_user`,
    );
    const { database, superuser } = rows[0] as { database: string; superuser: boolean };
    if (!superuser) await tx.query(sql`grant ${ident(roles.owner)}, ${ident(roles.definer)} to current_user`);
    await tx.query(sql`grant create, connect on database ${ident(database)} to ${ident(roles.owner)}`);
    await tx.query(sql`revoke connect, temporary on database ${ident(database)} from public`);
    await tx.query(sql`
      grant connect on database ${ident(database)}
      to ${ident(roles.api)}, ${ident(roles.worker)}, ${ident(roles.sealer)}
    `);
    // Rescue must end a frozen backend. Only a superuser (or an admin of that role) can grant it; without it a frozen
    // client's partition waits until the server notices the dead connection, and `flux doctor` says so.
    await tx.query(sql`savepoint signalling`);
    // `inherit` before the grant: without it the definer is a member and still may not signal (15 reads the role's
    // attribute, later versions copy it into the membership).
    await tx
      .query(sql`alter role ${ident(roles.definer)} inherit`)
      .then(() => tx.query(sql`grant pg_signal_backend to ${ident(roles.definer)}`))
      .catch(() => tx.query(sql`rollback to savepoint signalling`));
  });
}

async function appliedMigrations(admin: Connection): Promise<Map<number, { name: string; sha256: Buffer }>> {
  const { rows: exists } = await admin.query<{ present: boolean }>(
    sql`select to_regclass('flux.migrations') is not null as present`,
  );
  if (!exists[0]?.present) return new Map();
  const { rows } = await admin.query<{ version: number; name: string; sha256: Buffer }>(
    sql`select version, name, sha256 from flux.migrations order by version`,
  );
  return new Map(rows.map(({ version, name, sha256 }) => [version, { name, sha256 }]));
}

/** How a database's migrations differ from this version's, by their numbers. `unknown` are those of a newer version. */
export async function comparedMigrations(
  admin: Connection,
): Promise<Record<'missing' | 'unknown' | 'changed', number[]>> {
  const [known, applied] = [await readMigrations(), await appliedMigrations(admin)];
  const versions = new Set(known.map(({ version }) => version));
  return {
    missing: known.filter(({ version }) => !applied.has(version)).map(({ version }) => version),
    unknown: [...applied.keys()].filter((version) => !versions.has(version)),
    changed: known
      .filter(({ version, sha256: hash }) => applied.get(version)?.sha256.equals(hash) === false)
      .map(({ version }) => version),
  };
}

function requireSameHistory(
  migrations: readonly Migration[],
  applied: Map<number, { name: string; sha256: Buffer }>,
): void {
  for (const [version, { name, sha256 }] of applied) {
    const file = migrations.find((migration) => migration.version === version);
    if (!file) {
      throw new FluxError(
        'MIGRATION_MISMATCH',
        `The database has migration ${String(version)} (${name}), which this version of Flux does not know. Run the newer version that applied it.`,
      );
    }
    if (!file.sha256.equals(sha256)) {
      throw new FluxError(
        'MIGRATION_MISMATCH',
        `migrations/${fullName(file)}.sql has changed since it was applied. Restore the file; a change is a new migration.`,
      );
    }
  }
}

async function apply(tx: Connection, migration: Migration, roles: PlatformRoles, prefix: string): Promise<void> {
  await tx.query(sql`select set_config('role', ${roles.owner}, true)`);
  await tx.client.query(withRoleNames(migration.text, roles));
  await tx.query(sql`select set_config('role', ${roles.owner}, true)`);
  await tx.query(sql`
    insert into flux.migrations (version, name, sha256)
    values (${migration.version}, ${migration.name}, ${migration.sha256})
  `);
  await tx.query(sql`insert into flux.installation (role_prefix) values (${prefix}) on conflict do nothing`);
}

/** The files name the roles of a database called `flux`; elsewhere the installation's own names take their place. */
function withRoleNames(text: string, roles: PlatformRoles): string {
  return text.replaceAll(
    /\bflux_(owner|definer|api|worker|sealer)\b/g,
    (_all, role: keyof PlatformRoles) => `"${roles[role].replaceAll('"', '""')}"`,
  );
}

/** RFC 2104 pads of the key that seals tenant contexts; auth/tenant-context.ts mints with the same key. True when it is new. */
async function storeSealKey(admin: Connection, roles: PlatformRoles, contextKey: Buffer): Promise<boolean> {
  const { keyId, key } = sealKey(contextKey);
  return inTransaction(admin, async (tx) => {
    await tx.query(sql`select set_config('role', ${roles.owner}, true)`);
    const { rowCount } = await tx.query(sql`
      insert into flux.context_keys (key_id, inner_pad, outer_pad)
      values (${keyId}, ${pad(key, 0x36)}, ${pad(key, 0x5c)})
      on conflict (key_id) do nothing
    `);
    await tx.query(sql`delete from flux.context_keys where key_id <> ${keyId}`);
    return rowCount > 0;
  });
}

/** The seal's own key and its public name, both derived from FLUX_CONTEXT_KEY. */
export function sealKey(contextKey: Buffer): { keyId: string; key: Buffer } {
  const key = hmacSha256(contextKey, 'flux tenant context seal');
  return { keyId: sha256Hex(key).slice(0, 8), key };
}

/** A 32-byte key filled to SHA-256's 64-byte block and mixed with RFC 2104's constant. */
function pad(key: Buffer, mix: number): Buffer {
  return Buffer.from(Array.from({ length: 64 }, (_, i) => (key[i] ?? 0) ^ mix));
}

/** Grants new tables to the agencies that exist; under another key their logins get the passwords that it derives. */
async function grantAgencies(admin: Connection, newKey: Buffer | null): Promise<void> {
  const { rows } = await admin.query<{ agency: string; rw: string | null; ro: string | null }>(sql`
    select l.agency_id as agency,
      max(role_name::text) filter (where access = 'rw') as rw,
      max(role_name::text) filter (where access = 'ro') as ro
    from flux.agency_logins l
    join pg_roles r on r.rolname = l.role_name
    group by l.agency_id
    order by l.agency_id
  `);
  for (const { agency, rw, ro } of rows) {
    if (newKey) await inTransaction(admin, (tx) => ensureAgencyLogins(tx, agency, newKey));
    else if (rw && ro)
      await admin.query(
        sql`select flux.grant_agency_login(${rw}, ${ro}), flux.grant_agency_runs(${rw}), flux.grant_agency_retention(${rw}), flux.grant_agency_keys(${rw}), flux.grant_agency_webhooks(${rw}), flux.grant_agency_scheduling(${rw}), flux.grant_agency_uploads(${rw})`,
      );
  }
}
