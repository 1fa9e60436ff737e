import type { Config } from './config.ts';
import { appliedVersion } from './db/installation.ts';
import { readMigrations } from './db/migrate.ts';
import type { Pool } from './db/pool.ts';
import { FluxError } from './errors.ts';
import { checkObjectStore } from './health.ts';
import { dispensable, type HealthCheck } from './telemetry/health-checks.ts';

/** What the API and the workers cannot do without, and Redis, which they can; the sealer needs no store. */
export function readinessOf(
  config: Config,
  pool: Pool,
  redis?: { check(): Promise<unknown> },
): Record<string, HealthCheck> {
  return {
    database: () => appliedVersion(pool).catch(unlessMissing),
    migrations: () => requireMigrated(pool),
    objectStore: () => checkObjectStore(config.objectStoreFolder),
    ...(redis ? { cache: dispensable(() => redis.check()) } : {}),
  };
}

/** A database without Flux is at version 0. 3F000 and 42P01: no such schema, no such table. */
function unlessMissing(cause: unknown): number {
  if (['3F000', '42P01'].includes(String((cause as { code?: unknown }).code))) return 0;
  throw cause;
}

/**
 * Old code must not work on a newer database, nor new code on an older one.
 *
 * @throws MIGRATION_MISMATCH
 */
export async function requireMigrated(pool: Pool): Promise<void> {
  const [expected, found] = await Promise.all([
    readMigrations().then((migrations) => migrations.at(-1)?.version ?? 0),
    appliedVersion(pool).catch(unlessMissing),
  ]);
  if (found === expected) return;
  throw new FluxError(
    'MIGRATION_MISMATCH',
    `The database is at migration ${String(found)}, this version of Flux needs ${String(expected)}. ${found < expected ? 'Run flux migrate.' : 'Run the newer version.'}`,
  );
}
