import { FluxError } from '../errors.ts';
import { connectAdmin } from './connect-admin.ts';
import type { Queryable } from './pool.ts';
import { type PlatformRoles, platformRoles } from './roles.ts';
import { sql } from './sql.ts';

/**
 * The platform roles of a migrated database.
 *
 * @throws MIGRATION_MISMATCH nothing is installed there
 * @throws UNAVAILABLE CONFIG_INVALID the server cannot be used; the message says why
 */
export async function installedRoles(adminUrl: string): Promise<PlatformRoles> {
  const admin = await connectAdmin(adminUrl, 'flux');
  try {
    const { rows } = await admin.query<{ installed: boolean }>(
      sql`select to_regclass('flux.installation') is not null as installed`,
    );
    if (rows[0]?.installed) {
      const { rows: found } = await admin.query<{ role_prefix: string }>(
        sql`select role_prefix from flux.installation`,
      );
      if (found[0]) return platformRoles(found[0].role_prefix);
    }
    throw new FluxError('MIGRATION_MISMATCH', 'The database holds no Flux yet. Run flux migrate first.');
  } finally {
    await admin.end();
  }
}

/** Version of the newest applied migration, as any platform role may ask; 0 when there is none. */
export async function appliedVersion(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ version: number }>(
    sql`select coalesce(max(version), 0)::int as version from flux.migrations`,
  );
  return rows[0]?.version ?? 0;
}

/** The versions of all applied migrations, as any platform role may ask. */
export async function appliedVersions(db: Queryable): Promise<ReadonlySet<number>> {
  const { rows } = await db.query<{ version: number }>(sql`select version::int as version from flux.migrations`);
  return new Set(rows.map(({ version }) => version));
}

/** What a server and its installation look like to an admin, for `flux doctor`. Version 0 means nothing is installed. */
export async function checkInstallation(
  adminUrl: string,
): Promise<{ server: string; version: number; canSignal: boolean }> {
  const admin = await connectAdmin(adminUrl, 'flux doctor');
  try {
    const { rows } = await admin.query<{ server: string; installed: boolean; canSignal: boolean }>(sql`
      select current_setting('server_version') as server,
        to_regclass('flux.migrations') is not null as installed,
        exists (
          select from pg_auth_members m
          join pg_roles granted on granted.oid = m.roleid and granted.rolname = 'pg_signal_backend'
          join pg_proc p on p.proowner = m.member and p.proname = 'rescue_partitions'
        ) as "canSignal"
    `);
    const { server, installed, canSignal } = rows[0] as { server: string; installed: boolean; canSignal: boolean };
    return { server, version: installed ? await appliedVersion(admin) : 0, canSignal };
  } finally {
    await admin.end();
  }
}
