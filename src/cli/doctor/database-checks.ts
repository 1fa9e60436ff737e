/** What `flux doctor` asks the database, with an admin's URL and with the services' own logins. */
import type { Config } from '../../config.ts';
import { connectAdmin } from '../../db/connect-admin.ts';
import { appliedVersion, checkInstallation, installedRoles } from '../../db/installation.ts';
import { comparedMigrations, requireServerVersion } from '../../db/migrate.ts';
import { connect, type Connection } from '../../db/pool.ts';
import { roleUrl } from '../../db/roles.ts';
import { sealerState } from '../../db/sealer-state.ts';
import { leaseFacts, roleFaults, type ServerFacts, serverFacts, unguardedTables } from '../../db/set-up.ts';
import { listIssuers } from '../../domain/manage-issuers.ts';
import { sealWaitSecondsMax } from '../../health.ts';
import { check, type Finding, wrong } from './finding.ts';
import { keySet } from './host-checks.ts';

/** Tokens are judged by the host's clock and leases by the database's; what jitter and a slow answer explain is no skew. */
const skewMsMax = 2_000;
/** A worker looks for abandoned partitions each second. */
const leaseGraceSeconds = 60;
/** Connections at most: an API's pool, its ear and the reading of the lake; a worker's, with the session of its partition; sealers'. */
const connectionsOf = { api: 14, worker: 10, sealer: 4 };

/** @param now for the clock of this host */
export async function databaseChecks(config: Config, adminUrl: string, now: () => number): Promise<Finding[]> {
  let isInstalled = false;
  let canSignal = false;
  const server = await check('database', async () => {
    const { server: text, version, canSignal: granted } = await checkInstallation(adminUrl);
    isInstalled = version > 0;
    canSignal = granted;
    const installed = version === 0 ? 'nothing installed yet; run flux migrate' : `migration ${String(version)}`;
    return `PostgreSQL ${text}, ${installed}`;
  });
  if (!server.ok) return [server];
  const admin = await connectAdmin(adminUrl, 'flux doctor');
  try {
    const before = now();
    const facts = await serverFacts(admin);
    const asked = { before, after: now() };
    const onServer = [
      server,
      await check('version', async () => {
        await requireServerVersion(admin);
        return 'a version without CVE-2025-8713; no extension is needed';
      }),
      await check('encoding', () => encoding(facts)),
      await check('clock', () => clock(facts, asked)),
      await check('connections', () => connections(facts, config)),
    ];
    if (!isInstalled) return onServer;
    return [...onServer, ...(await installationChecks({ config, adminUrl, admin, facts, canSignal }))];
  } finally {
    await admin.end();
  }
}

interface Asked {
  config: Config;
  adminUrl: string;
  admin: Connection;
  facts: ServerFacts;
  canSignal: boolean;
}

async function installationChecks({ config, adminUrl, admin, facts, canSignal }: Asked): Promise<Finding[]> {
  const roles = await installedRoles(adminUrl);
  const rescue = 'pg_signal_backend is not granted: a frozen worker’s partition waits until the server notices';
  const uris = new Set(config.issuers.flatMap(({ jwksUri }) => jwksUri ?? []));
  for (const { jwksUri } of await listIssuers(adminUrl)) if (jwksUri !== null) uris.add(jwksUri);
  return [
    await check('migrations', () => migrations(admin)),
    await check('roles', async () => {
      const faults = await roleFaults(admin, roles);
      if (faults.length === 0) return 'no login of Flux is a superuser or passes by row-level security';
      throw wrong(faults.join('; '), {
        expected: 'plain logins, or one agency could see another’s rows',
        advice: 'Run flux migrate, which takes those rights away',
      });
    }),
    await check('policies', async () => {
      const tables = await unguardedTables(admin);
      if (tables.length === 0) return 'row-level security is forced on every table of an agency';
      throw wrong(`row-level security is off or not forced on ${tables.join(', ')}`, {
        expected: 'it to be forced on every table of an agency',
        advice: `Stop the API and the workers, find out who changed it, then: alter table flux.${tables[0] ?? ''} enable row level security, force row level security`,
      });
    }),
    await check('logins', () => logins(config, adminUrl, roles)),
    ...(canSignal ? [] : [{ check: 'rescue', ok: true, message: rescue }]),
    await check('sealer', () => sealer(admin, facts)),
    await check('leases', () => leases(admin, facts)),
    ...(await Promise.all([...uris].map((url) => check('issuer', () => keySet(url, config))))),
  ];
}

function encoding({ encoding: found, encrypted }: ServerFacts): string {
  if (found === 'UTF8') return `UTF8, ${encrypted ? 'reached over TLS' : 'reached without TLS'}`;
  throw wrong(`the database is encoded in ${found}`, {
    expected: 'UTF8, in which every text of a source can be kept',
    advice: 'Create another one: create database flux encoding UTF8 template template0',
  });
}

function clock({ nowMs }: ServerFacts, { before, after }: { before: number; after: number }): string {
  // The answer was made at some moment in between.
  const ahead = before > nowMs ? before - nowMs : nowMs > after ? after - nowMs : 0;
  if (Math.abs(ahead) <= skewMsMax) return `this host’s and the database’s agree within ${String(skewMsMax / 1000)} s`;
  throw wrong(
    `this host’s clock is ${(Math.abs(ahead) / 1000).toFixed(1)} s ${ahead > 0 ? 'ahead of' : 'behind'} the database’s`,
    {
      expected: `at most ${String(skewMsMax / 1000)} s`,
      advice: 'Synchronise both (NTP): tokens are judged by the one and leases by the other',
    },
  );
}

function connections({ connectionsMax, connections: open }: ServerFacts, { workers }: Config): string {
  const needed = connectionsOf.api + workers * connectionsOf.worker + connectionsOf.sealer;
  const found = `max_connections leaves ${String(connectionsMax)} to ordinary logins, ${String(open)} are open`;
  if (needed > connectionsMax) {
    throw wrong(found, {
      expected: `${String(needed)} for one API, ${String(workers)} workers and a sealer`,
      advice: 'Raise max_connections, or lower FLUX_WORKERS',
    });
  }
  if (open >= connectionsMax * 0.9) {
    throw wrong(found, {
      expected: 'one in ten to be free',
      advice: 'Raise max_connections, or find in pg_stat_activity who holds them',
    });
  }
  return found;
}

async function migrations(admin: Connection): Promise<string> {
  const { missing, unknown, changed } = await comparedMigrations(admin);
  const list = (versions: readonly number[]): string => versions.join(', ');
  if (changed.length > 0) {
    throw wrong(`migrations ${list(changed)} were applied with another text than this version has`, {
      expected: 'files as they were applied',
      advice: 'Restore them; a change is a new migration',
    });
  }
  if (missing.length > 0) {
    throw wrong(`the database lacks migrations ${list(missing)}`, {
      expected: 'each that this version knows',
      advice: 'Run flux migrate',
    });
  }
  return unknown.length === 0 ? 'all applied' : `all applied, and ${list(unknown)} of a newer version`;
}

/** Each service's login gets in: with the URL that it is given, or with the password that the context key gives. */
async function logins(
  config: Config,
  adminUrl: string,
  roles: Awaited<ReturnType<typeof installedRoles>>,
): Promise<string> {
  for (const service of ['api', 'worker', 'sealer'] as const) {
    const given = config[`${service}DatabaseUrl`];
    const url = given ?? roleUrl(adminUrl, roles[service], config.contextKey);
    try {
      const connection = await connect({ url, applicationName: 'flux doctor' });
      try {
        await appliedVersion(connection);
      } finally {
        await connection.end();
      }
    } catch (cause) {
      throw wrong(`the ${service}’s login does not get in (${(cause as Error).message.replace(/\.$/, '')})`, {
        expected: 'the password that FLUX_CONTEXT_KEY gives',
        advice: given
          ? `Correct FLUX_${service.toUpperCase()}_DATABASE_URL`
          : 'Run flux migrate with the FLUX_CONTEXT_KEY that API and workers have',
      });
    }
  }
  return 'those of API, worker and sealer get in';
}

/** Nobody seals where nothing runs; where something does, its entries must not wait. */
async function sealer(admin: Connection, { processes }: ServerFacts): Promise<string> {
  const { leads, silentSeconds, waitingSeconds } = await sealerState(admin);
  const waits = waitingSeconds > 0 ? `, the oldest entry waits for ${waitingSeconds.toFixed(0)} s` : '';
  if (leads && waitingSeconds <= sealWaitSecondsMax) return `a sealer leads${waits}`;
  const expected = `entries to be sealed within ${String(sealWaitSecondsMax)} s`;
  if (leads) {
    throw wrong(`a sealer leads and does not seal${waits}`, {
      expected,
      advice: 'Its log says why; docs/operations/audit-break.md',
    });
  }
  const since = silentSeconds === null ? '' : ` for ${silentSeconds.toFixed(0)} s`;
  if (processes === 0) return `none works${since}, and neither does anything else${waits}`;
  throw wrong(`${String(processes)} processes work and no sealer does${since}${waits}`, {
    expected,
    advice: 'Start one with flux sealer, or look at why it ended; docs/operations/audit-break.md',
  });
}

async function leases(admin: Connection, { superuser }: ServerFacts): Promise<string> {
  const { abandoned, workers } = await leaseFacts(admin, leaseGraceSeconds);
  const there = `${String(workers)} workers are there`;
  if (!superuser) return `${there}; only a superuser sees the partitions of every agency`;
  if (abandoned === 0) return `${there}, no partition is abandoned`;
  const found = `${String(abandoned)} partitions have been abandoned for more than ${String(leaseGraceSeconds)} s`;
  if (workers === 0) return `${found}, and no worker is there: the next one takes them up`;
  throw wrong(`${found}, and ${there}`, {
    expected: 'a worker to take each up within seconds',
    advice: 'The workers’ logs say why they do not; docs/operations/stuck-run.md',
  });
}
