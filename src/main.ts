/**
 * The composition root: puts the rooms together into the services. Each imports its rooms when it starts, so that the
 * API's process never loads DuckDB and a worker's never loads GraphQL.
 */
import { hostname } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

import { type Config, requireIssuers } from './config.ts';
import { randomUuid } from './crypto/random.ts';
import { sealKey } from './db/migrate.ts';
import { operationCounts } from './db/operation-counts.ts';
import { createPool } from './db/pool.ts';
import { replicationState } from './db/replication.ts';
import { checkCheckpointRoundTrip, checkReplication } from './health.ts';
import { readinessOf, requireMigrated, sealerReadinessOf } from './readiness.ts';
import {
  auditPublicKeys,
  configuredTrust,
  dataKeysOf,
  keyRingOf,
  trustedDocuments,
  webhookPolicyOf,
} from './service-settings.ts';
import type { BulkWorker } from './domain/work-bulk.ts';
import type { RedisHints } from './redis/redis-hints.ts';
import type { Service } from './supervisor/child-side.ts';
import { createLogger, type Logger } from './telemetry/logger.ts';
import { dispensable, type HealthCheck } from './telemetry/health-checks.ts';
import type { Expired, RetentionOptions } from './worker/retention.ts';
import { watchOperations, watchPool } from './telemetry/metrics.ts';
import { type MetricsServer, startMetricsServer } from './telemetry/metrics-server.ts';

/** What `npm run build:dashboard` writes. */
const dashboardFolder = fileURLToPath(new URL('../dashboard/dist/', import.meta.url));

/** Leaves the supervisor two of its twelve seconds; a pod's grace is longer still. */
export const workerDrainMs = 10_000;
/**
 * What a worker's heap may grow by, of what lives in it, before V8 looks through all of it. Left to its own choice, what batches leave behind adds up to
 * 80 MB in a run of 15 million records; so it is looked through every two seconds, for 25 ms.
 */
const workerHeapGrowthPercent = 50;
const apiConnectionsMax = 10;
/** Two seconds less than an operation may take: what is slower is a fault, and must not hold a connection. */
const apiStatementMs = 8_000;

/**
 * Starts the API.
 *
 * @throws PORT_IN_USE CONFIG_INVALID MIGRATION_MISMATCH UNAVAILABLE
 */
export async function startApi(config: Config, databaseUrl: string): Promise<Service> {
  requireIssuers(config);
  const [
    { schema },
    { createContext, recordRequestRefusal },
    { startServer },
    { createAuthenticator },
    { localIssuer, localIssuerName },
    { startHints },
    { cursorKeyOf },
    { anchorFile },
    { publicKeyOf },
    { createActivityLog },
    { sealForAudit },
    { createRevocations, refuseRevoked },
    { createLiveSubscriptions },
    { createIssuerRegistry },
    { startBulkWorker },
    { openObjectStore },
    { receiveUpload, uploadOf },
    { createLakeReader },
    { createLakeCopies },
    { packageDataset },
  ] = await Promise.all([
    import('../schema/schema.ts'),
    import('../resolvers/context.ts'),
    import('./server/start-server.ts'),
    import('./auth/authenticator.ts'),
    import('./auth/local-issuer.ts'),
    import('./events/listen.ts'),
    import('./events/cursor.ts'),
    import('./audit/anchor.ts'),
    import('./audit/signed-note.ts'),
    import('./audit/activity-log.ts'),
    import('./auth/tenant-context.ts'),
    import('./domain/revocations.ts'),
    import('./domain/live-subscriptions.ts'),
    import('./domain/issuer-registry.ts'),
    import('./domain/work-bulk.ts'),
    import('./objects/open-object-store.ts'),
    import('./domain/receive-upload.ts'),
    import('./db/lake-reader.ts'),
    import('./db/lake-copy.ts'),
    import('./domain/package-dataset.ts'),
  ]);
  const logger = createLogger({ service: 'flux-api', level: config.logLevel });
  const pool = createPool({
    url: databaseUrl,
    max: apiConnectionsMax,
    applicationName: 'flux api',
    statementTimeoutMs: apiStatementMs,
    pipeline: true,
    onError: (err) => logger.warn({ err }, 'an idle connection broke'),
  });
  const redis = await redisHints(config, logger);
  const hints = startHints({ url: databaseUrl, logger, ...(redis ? { open: redis.open } : {}) });
  const seal = sealKey(config.contextKey);
  const activity = createActivityLog({ pool, sealFor: sealForAudit(seal), log: logger });
  const revocations = createRevocations({
    pool,
    seal,
    hints,
    logger,
    configured: configuredTrust(config, localIssuerName),
  });
  const liveSubscriptions = createLiveSubscriptions({ pool, seal, logger });
  let metricsServer: MetricsServer | undefined;
  let bulk: BulkWorker | undefined;
  const close = async (): Promise<void> => {
    await metricsServer?.stop();
    await bulk?.stop();
    await liveSubscriptions.stop();
    await revocations.stop();
    await hints.stop();
    await redis?.stop();
    await activity.stop();
    await pool.end();
  };
  try {
    await requireMigrated(pool);
    const local = config.environment === 'development' ? await localIssuer(config.home) : undefined;
    const authenticator = createAuthenticator({
      environment: config.environment,
      issuers: config.issuers,
      audience: config.audience,
      registry: createIssuerRegistry({ pool, seal }),
      ...(local ? { localIssuer: local } : {}),
      onRefused: (reason) => logger.info({ reason }, 'token refused'),
    });
    const anchor = anchorFile(config.auditAnchor);
    const [publicKey, ...earlierKeys] = auditPublicKeys(config, publicKeyOf);
    const audit = publicKey ? { audit: { publicKey, earlierKeys, anchored: () => anchor.read() } } : {};
    const keys = keyRingOf(config);
    const webhooks = { policy: webhookPolicyOf(config), dataKeys: () => dataKeysOf(config) };
    const sendHint = redis?.send;
    const cursorKey = cursorKeyOf(config.contextKey);
    const lake = createLakeReader({ databaseUrl, contextKey: config.contextKey });
    const api = { pool, keys, cursorKey, hints, sendHint, logger, activity, lake, webhooks, ...audit };
    const objects = await openObjectStore(config);
    const readiness = readinessOf({ pool, objects, redis });
    const packages = { ...api, copies: createLakeCopies({ databaseUrl, contextKey: config.contextKey }) };
    const uploads = { ...api, objects, byteCountMax: config.uploadBytesMax };
    const signIn = {
      providers: config.signIn,
      ...(local
        ? {
            development: {
              agencies: Object.keys(config.sourceRoots),
              sign: (claims: Parameters<typeof local.sign>[0]) => local.sign(claims, config.audience),
            },
          }
        : {}),
    };
    // By name: in production the keys of others are not here, and asking for one of them throws.
    const { environment, host, port, tls } = config;
    const serverConfig = {
      environment,
      host,
      port,
      ...(tls ? { tls } : {}),
      ...(await trustedDocuments(config)),
      dashboard: { folder: dashboardFolder },
      signIn,
    };
    const server = await startServer(serverConfig, {
      schema,
      authenticator: refuseRevoked(authenticator, revocations),
      live: {
        watch: (principal, end) => revocations.watch(principal, end),
        opened: (subscription) => liveSubscriptions.opened(subscription),
      },
      seal,
      createContext: (request) => createContext(api, request),
      onRefused: (asker, error) => recordRequestRefusal(activity, asker, error),
      readiness,
      uploads: {
        receive: (context, request) => receiveUpload(uploads, context, request),
        find: (context, name) => uploadOf(uploads, context, name),
      },
      packages: { open: (context, name) => packageDataset(packages, context, name) },
      deepHealth: {
        checks: {
          checkpoint: () => checkCheckpointRoundTrip(pool),
          replication: dispensable(() => checkReplication(pool)),
        },
        numbers: async () => ({ ...(await operationCounts(pool)), ...(await replicationState(pool)) }),
      },
      logger,
    });
    bulk = startBulkWorker({
      pool,
      keys,
      sendHint,
      logger,
      seal,
      holder: `api ${hostname()}-${String(process.pid)}-${randomUuid().slice(0, 4)}`,
    });
    watchPool('api', pool);
    watchOperations(() => operationCounts(pool));
    metricsServer = await serveMetrics(config, readiness).catch(async (cause: unknown) => {
      await server.stop();
      throw cause;
    });
    logger.info({ url: server.url, metrics: metricsServer.url }, 'API is ready');
    return {
      id: 'api',
      url: server.url,
      metricsUrl: metricsServer.url,
      async stop() {
        await server.stop();
        await close();
      },
    };
  } catch (cause) {
    await close();
    throw cause;
  }
}

/**
 * Starts one worker.
 *
 * @throws MIGRATION_MISMATCH UNAVAILABLE
 */
export async function startWorkerService(config: Config, databaseUrl: string): Promise<Service> {
  setFlagsFromString(`--heap-growing-percent=${String(workerHeapGrowthPercent)}`);
  const [
    { startWorker },
    { createEtlEngine },
    { openObjectStore },
    { startRetention },
    { startWebhooks },
    { ownWorkFolder },
  ] = await Promise.all([
    import('./worker/worker.ts'),
    import('./etl/engine.ts'),
    import('./objects/open-object-store.ts'),
    import('./worker/retention.ts'),
    import('./worker/webhooks.ts'),
    import('./own-work-folder.ts'),
  ]);
  const log: Logger = createLogger({ service: 'flux-worker', level: config.logLevel });
  const pool = createPool({
    url: databaseUrl,
    max: 1,
    applicationName: 'flux worker health',
    statementTimeoutMs: 2_000,
    onError: (err) => log.warn({ err }, 'an idle connection broke'),
  });
  const work = await requireMigrated(pool)
    .then(() => ownWorkFolder(path.join(config.home, 'work')))
    .catch(async (cause: unknown) => {
      await pool.end();
      throw cause;
    });
  const objects = await openObjectStore(config);
  const engine = createEtlEngine({
    objects,
    sourceRoots: config.sourceRoots,
    saltOf: config.saltOf,
    sourcePrivateHosts: config.sourcePrivateHosts,
    keepFolder: work.folder,
    codeFolder: path.join(work.folder, 'code'),
  });
  const redis = await redisHints(config, log);
  const metricsServer = await serveMetrics(config, readinessOf({ pool, objects, redis })).catch(
    async (cause: unknown) => {
      await Promise.all([work.remove(), pool.end(), redis?.stop()]);
      throw cause;
    },
  );
  // What a worker that was killed has left is claimed within seconds, and must not wait for the first child of this one.
  engine.expectWork?.();
  const worker = startWorker(
    {
      databaseUrl,
      contextKey: config.contextKey,
      workFolder: work.folder,
      quantumBatches: config.quantumBatches,
    },
    { engine, keys: keyRingOf(config), hints: redis, log },
  );
  const retention = startRetention(await retentionOptions(config, databaseUrl, log));
  const webhooks = startWebhooks({
    databaseUrl,
    contextKey: config.contextKey,
    keys: keyRingOf(config),
    dataKeys: dataKeysOf(config),
    policy: webhookPolicyOf(config),
    log,
  });
  log.info({ worker: worker.id, metrics: metricsServer.url }, 'worker is ready');
  return {
    id: worker.id,
    metricsUrl: metricsServer.url,
    async stop() {
      await Promise.all([worker.stop({ graceMs: workerDrainMs }), retention.stop(), webhooks.stop()]);
      // One that is left would write what it has compiled when it ends, into a folder that is nobody's by then.
      await engine.close?.();
      await work.remove();
      await redis?.stop();
      await metricsServer.stop();
      await pool.end();
    },
  };
}

/**
 * One round of retention, now, over every agency.
 *
 * @param databaseUrl of flux_worker
 */
export async function expireNow(config: Config, databaseUrl: string): Promise<Expired[]> {
  const { expireAll } = await import('./worker/retention.ts');
  const log = createLogger({ service: 'flux-retention', level: config.logLevel });
  return expireAll(await retentionOptions(config, databaseUrl, log));
}

async function retentionOptions(config: Config, databaseUrl: string, log: Logger): Promise<RetentionOptions> {
  const { openObjectStore } = await import('./objects/open-object-store.ts');
  const objects = await openObjectStore(config);
  return { databaseUrl, contextKey: config.contextKey, objects, log };
}

/**
 * Starts one sealer of the audit log.
 *
 * @throws MIGRATION_MISMATCH UNAVAILABLE CONFIG_INVALID
 */
export async function startSealerService(config: Config, databaseUrl: string): Promise<Service> {
  const [{ startSealer }, { anchorFile }] = await Promise.all([
    import('./audit/sealer.ts'),
    import('./audit/anchor.ts'),
  ]);
  const log: Logger = createLogger({ service: 'flux-sealer', level: config.logLevel });
  const { auditKey, auditAlgorithm } = config;
  const pool = createPool({
    url: databaseUrl,
    max: 1,
    applicationName: 'flux sealer health',
    statementTimeoutMs: 2_000,
    onError: (err) => log.warn({ err }, 'an idle connection broke'),
  });
  const redis = await redisHints(config, log);
  const metricsServer = await requireMigrated(pool)
    .then(() => serveMetrics(config, sealerReadinessOf(pool, redis)))
    .catch(async (cause: unknown) => {
      await Promise.all([pool.end(), redis?.stop()]);
      throw cause;
    });
  const anchor = anchorFile(config.auditAnchor);
  const sealer = startSealer({ databaseUrl, auditKey, auditAlgorithm, anchor, log, sendHint: redis?.send });
  log.info({ sealer: sealer.id, metrics: metricsServer.url }, 'sealer is ready');
  return {
    id: sealer.id,
    metricsUrl: metricsServer.url,
    async stop() {
      await sealer.stop();
      await redis?.stop();
      await metricsServer.stop();
      await pool.end();
    },
  };
}

/** Hints travel over Redis where there is one. */
async function redisHints({ redisUrl }: Config, logger: Logger): Promise<RedisHints | undefined> {
  if (redisUrl === undefined) return undefined;
  const { startRedisHints } = await import('./redis/redis-hints.ts');
  return startRedisHints({ url: redisUrl, logger });
}

function serveMetrics(
  { host, metricsPort, metricsPortFixed }: Config,
  checks: Record<string, HealthCheck>,
): Promise<MetricsServer> {
  return startMetricsServer({ host, port: metricsPort, fixed: metricsPortFixed, checks });
}
