import { appliedVersions } from './db/installation.ts';
import { readMigrations } from './db/migrate.ts';
import type { Pool } from './db/pool.ts';
import { FluxError } from './errors.ts';
import { checkDatabase, checkSealer, checkSealerLeads } from './health.ts';
import { dispensable, type HealthCheck } from './telemetry/health-checks.ts';

/**
 * What the API and the workers cannot do without, and what they can: Redis, and the sealer, because an audit entry commits with what it
 * tells and is sealed later. Taking them out of service for it would make of a late seal an outage, and seal nothing sooner.
 */
export function readinessOf({
  pool,
  objects,
  redis,
}: {
  pool: Pool;
  objects: { check(): Promise<void> };
  redis: { check(): Promise<unknown> } | undefined;
}): Record<string, HealthCheck> {
  return {
    ...commonChecks(pool, redis),
    objectStore: () => objects.check(),
  };
}

function commonChecks(pool: Pool, redis?: { check(): Promise<unknown> }): Record<string, HealthCheck> {
  return {
    database: () => checkDatabase(pool),
    migrations: () => requireMigrated(pool),
    ...(redis ? { cache: dispensable(() => redis.check()) } : {}),
    sealer: dispensable(() => checkSealer(pool)),
  };
}

/**
 * What a sealer needs; no store. One that stands by is ready as well as the one that leads, but while nobody does none is, so that a
 * rollout whose sealers cannot seal stops.
 */
export function sealerReadinessOf(pool: Pool, redis?: { check(): Promise<unknown> }): Record<string, HealthCheck> {
  return { ...commonChecks(pool, redis), sealer: () => checkSealerLeads(pool) };
}

/** A database without Flux has no migrations. 3F000 and 42P01: no such schema, no such table. */
function noneIfMissing(cause: unknown): ReadonlySet<number> {
  if (['3F000', '42P01'].includes(String((cause as { code?: unknown }).code))) return new Set();
  throw cause;
}

/**
 * New code must not work on an older database: each migration that this version knows has to be applied. Further ones may be: a release's
 * migrations only add to what the release before works with, so that they are applied first and the processes replaced one by one
 * (docs/operations/upgrade.md).
 *
 * @throws MIGRATION_MISMATCH
 */
export async function requireMigrated(pool: Pool): Promise<void> {
  const [known, applied] = await Promise.all([readMigrations(), appliedVersions(pool).catch(noneIfMissing)]);
  const missing = known.filter(({ version }) => !applied.has(version)).map(({ version }) => version);
  if (missing.length === 0) return;
  const [first] = missing;
  throw new FluxError(
    'MIGRATION_MISMATCH',
    `This version of Flux needs ${String(known.length)} migrations, of which the database lacks ${String(missing.length)}, the first of them ${String(first)}. Run flux migrate.`,
  );
}
